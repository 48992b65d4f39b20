// Where compiled code is kept between starts, so that a start parses, strips and compiles nothing again.
//
// Called first thing by the process entries (main.ts, cli/main.ts), before they import the rest. The shards' workers follow through
// the environment variable: a worker does not inherit what its parent switched on by a call.

import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Switches the cache on for this process and its workers, unless NODE_COMPILE_CACHE or NODE_DISABLE_COMPILE_CACHE says otherwise. It is
 * in node_modules/.cache of a checkout and in the user's cache directory for an installed package. Where it cannot be
 * written nothing is cached and nothing else changes.
 */
export function useCompileCache(): void {
  if (process.env.NODE_COMPILE_CACHE !== undefined || process.env.NODE_DISABLE_COMPILE_CACHE !== undefined) return
  const directory = import.meta.url.endsWith('.ts')
    ? fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url))
    : join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'millrace', 'node')
  enableCompileCache(directory)
  process.env.NODE_COMPILE_CACHE = directory
}
