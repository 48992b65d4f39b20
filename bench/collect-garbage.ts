// Loaded into a broker by groups.ts (`--import`), into each of its threads: SIGUSR2 collects garbage, so that its heap figures say what is in use.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BroadcastChannel, isMainThread } from 'node:worker_threads'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const channel = new BroadcastChannel('collect-garbage')
channel.onmessage = collect
channel.unref()
if (isMainThread) {
  process.on('SIGUSR2', () => {
    collect()
    channel.postMessage('now')
  })
}
