export type LogType = 'text' | 'json' | 'pretty';

export const LOG_TYPES: readonly LogType[] = ['text', 'json', 'pretty'];
