#!/usr/bin/env node
// Process entry of the `millrace` command: arguments in, exit code out, nothing else.

import { useCompileCache } from '../compile-cache.ts'

useCompileCache()
const { runCommandLine } = await import('./cli.ts')

// A reader that has seen enough (head, a pager) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await runCommandLine(process.argv.slice(2))
