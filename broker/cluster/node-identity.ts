// Who this broker is in its cluster. Written into the data directory's record once, read from there at every start.

export interface NodeIdentity {
  readonly clusterId: string
  /** How many other data directories this broker id had before this one. */
  readonly directoryEpoch: number
  /** This broker was the first member of the metadata group. */
  readonly isFounder: boolean
  /** The metadata knows this directory: from then on the storage holds the metadata group. */
  readonly isRegistered: boolean
}
