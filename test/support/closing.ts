// What a test file has started, closed all at once when its tests are over.
//
// The hook belongs to the file that imports this: every test file runs in a process of its own.

import { after } from 'node:test'

interface Closable {
  close(): Promise<void>
}

const toClose: Closable[] = []
after(() => Promise.all(toClose.map((each) => each.close())))

export function closing<T extends Closable>(each: T): T {
  toClose.push(each)
  return each
}
