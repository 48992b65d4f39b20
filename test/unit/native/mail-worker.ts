// The other side of doorbell.test.ts: answers mail, or floods the main thread with it.

import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { loadNative } from '../../../native/index.ts'

export interface MailPlan {
  role: 'echo' | 'flood'
  words: Int32Array
  /** Doorbell of this thread, and of the main thread. */
  own: number
  main: number
  count: number
}

// Words: [pending, sleeping] of the main thread, then of each worker, then one value per direction.
export const MAIN_PENDING = 0
export const MAIN_SLEEPING = 1
export const pendingOf = (worker: number) => 2 + 4 * worker
export const sleepingOf = (worker: number) => 3 + 4 * worker
export const toWorker = (worker: number) => 4 + 4 * worker
export const toMain = (worker: number) => 5 + 4 * worker

/** What a producer does after it left something for a consumer. @returns whether it had to ring */
export function post(
  native: { ring(id: number): boolean },
  words: Int32Array,
  pending: number,
  sleeping: number,
  bit: number,
  bell: number,
): boolean {
  Atomics.or(words, pending, bit)
  return Atomics.exchange(words, sleeping, 0) === 1 && native.ring(bell)
}

function run({ role, words, own, main, count }: MailPlan): void {
  const native = loadNative()!
  const index = own - main - 1
  const bit = 1 << index
  const send = () => post(native, words, MAIN_PENDING, MAIN_SLEEPING, bit, main)
  if (role === 'flood') {
    for (let i = 0; i < count; i++) {
      Atomics.add(words, toMain(index), 1)
      send()
    }
    return
  }
  const bell = native.doorbell(own, () => {})
  const turn = native.onLoopTurn({
    words,
    pendingIndex: pendingOf(index),
    sleepingIndex: sleepingOf(index),
    onMail() {
      const value = Atomics.load(words, toWorker(index))
      Atomics.store(words, toMain(index), value)
      send()
      if (value < count) return
      bell.close()
      turn.close()
      parentPort!.close()
    },
  })
  // Neither keeps the thread alive by itself.
  parentPort!.on('message', () => {})
  parentPort!.postMessage('ready')
}

if (!isMainThread) run(workerData as MailPlan)
