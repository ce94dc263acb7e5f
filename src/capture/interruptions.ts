/** The chain from the last captured frame is broken; a comparison with what the replica has mends it. */
export class Discontinuity extends Error {}

/** The database is not there, or not ready; look again later. */
export class NotReady extends Error {}

/** It is gone from its name, and another file may be in its place: there is no need to wait. */
export class Replaced extends NotReady {}

/** It is there, and what is committed to it cannot be read right now. */
export class Hindered extends NotReady {}
