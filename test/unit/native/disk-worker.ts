// A thread that is ended in the middle of disk work, for queue.test.ts.

import { constants } from 'node:fs'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { loadNative, type QueueMethod } from '../../../native/index.ts'

export interface DiskPlan {
  method: QueueMethod
  path: string
  /** 'busy' never stops by itself; 'idle' leaves everything open with nothing to do, and should end at once. */
  role: 'busy' | 'idle'
}

async function run({ method, path, role }: DiskPlan): Promise<void> {
  const native = loadNative()!
  const queue = native.openQueue({
    method,
    failure: (code, operation, where) => new Error(`${operation} ${where}: ${code}`),
  })
  const fd = await queue.open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
  native.doorbell(50, () => {})
  native.onLoopTurn({ words: new Int32Array(2), pendingIndex: 0, sleepingIndex: 1, onMail() {} })
  if (role === 'idle') return
  // Memory of this thread alone: it is freed with the thread, while the kernel may still have work on it.
  const again = async (position: number) => {
    for (;;) {
      const bytes = new Uint8Array(256 * 1024).fill(position)
      await queue.write(fd, bytes, position * bytes.length, true, path)
      await queue.read(fd, bytes, position * bytes.length, path)
    }
  }
  for (let i = 0; i < 32; i++) void again(i)
  parentPort!.postMessage('busy')
}

if (!isMainThread) await run(workerData as DiskPlan)
