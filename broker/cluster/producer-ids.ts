// Producer ids, handed out one by one from blocks that the metadata log has set aside.
//
// On shard 0. A block that was taken and not used up is lost at a restart: ids are plenty, but none is given twice.

import { ErrorCode } from '../../protocol/errors.ts'
import type { Controller } from './controller.ts'

export class ProducerIds {
  readonly #controller: Pick<Controller, 'allocateProducerIds'>
  #next = 0
  #left = 0
  #filling: Promise<ErrorCode> | undefined

  constructor(controller: Pick<Controller, 'allocateProducerIds'>) {
    this.#controller = controller
  }

  /** @returns a fresh id, or why there is none */
  async next(): Promise<{ error: ErrorCode; producerId: number }> {
    while (this.#left === 0) {
      this.#filling ??= this.#fill()
      const error = await this.#filling
      if (error !== ErrorCode.NONE) return { error, producerId: -1 }
    }
    this.#left--
    return { error: ErrorCode.NONE, producerId: this.#next++ }
  }

  async #fill(): Promise<ErrorCode> {
    try {
      const block = await this.#controller.allocateProducerIds()
      if ('error' in block) return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
      this.#next = block.firstProducerId
      this.#left = block.count
      return ErrorCode.NONE
    } finally {
      this.#filling = undefined
    }
  }
}
