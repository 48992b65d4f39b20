// Plants the mistake that MILLRACE_MISTAKE names: `node --import ./test/sim/cluster/plant-loader.ts test/sim/cluster/main.ts ...`.

import { registerHooks } from 'node:module'
import { MISTAKES, plant } from './plant.ts'

const name = process.env.MILLRACE_MISTAKE
const mistake = MISTAKES.find((one) => one.name === name)
if (mistake === undefined)
  throw new Error(`no mistake '${name}'; there are ${MISTAKES.map((one) => one.name).join(', ')}`)

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith(`/${mistake.file}`)) return loaded
    const { source } = loaded
    if (source === undefined || source === null) throw new Error(`${mistake.file} has no source`)
    const text = typeof source === 'string' ? source : Buffer.from(source as Uint8Array).toString()
    return { ...loaded, source: plant(mistake, text) }
  },
})
