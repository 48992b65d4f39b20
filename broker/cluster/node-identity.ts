// Who this broker is in its cluster. Written into the data directory's record once, read from there at every start.

export interface NodeIdentity {
  /** '' in the record of a broker that gave up its own empty cluster for another one, and has not joined that yet. */
  readonly clusterId: string
  /** How many other data directories this broker id had before this one. */
  readonly directoryEpoch: number
  /** This broker was the first member of the metadata group. */
  readonly isFounder: boolean
  /** The metadata knows this directory: from then on the storage holds the metadata group. */
  readonly isRegistered: boolean
}

/** Code of the error that ends the founder of an empty cluster whose seeds have another one: started again, it joins that. */
export const LEFT_BEHIND = 'CLUSTER_LEFT_BEHIND'
