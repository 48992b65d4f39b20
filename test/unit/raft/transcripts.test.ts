// Raft by transcript: each file in transcripts/ is a situation, told as commands and full answers (format: transcript.ts).

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runTranscript } from './transcript.ts'

const directory = join(import.meta.dirname, 'transcripts')

for (const name of readdirSync(directory)
  .filter((file) => file.endsWith('.txt'))
  .sort()) {
  test(`the transcript ${name.replace('.txt', '')} is answered word for word`, () => {
    const path = join(directory, name)
    const text = readFileSync(path, 'utf8')
    const answered = runTranscript(text)
    if (process.env.UPDATE_TRANSCRIPTS === '1') writeFileSync(path, answered)
    else assert.equal(answered, text)
  })
}
