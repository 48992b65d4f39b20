// What commands print: aligned tables, JSON, progress on standard error.
//
// Standard output carries results only, so that it can be piped; notes and progress go to standard error, progress to a
// terminal alone. Used on the command's one thread.

import { once } from 'node:events'

export type Cell = string | number | null | undefined

/** What stands for nothing in a table. */
const NOTHING = '-'
const GAP = '  '

/**
 * A table as text: a line of titles, then one line per row, columns padded to their widest cell.
 * A column whose cells are all numbers is aligned to the right.
 */
export function formatTable(titles: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const texts = rows.map((row) => titles.map((_, column) => cellText(row[column])))
  const widths = titles.map((title, column) =>
    texts.reduce((width, row) => Math.max(width, widthOf(row[column] ?? '')), widthOf(title)),
  )
  const right = titles.map(
    (_, column) =>
      rows.some((row) => typeof row[column] === 'number') &&
      rows.every((row) => row[column] == null || typeof row[column] === 'number'),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => {
        const padding = ' '.repeat((widths[column] ?? 0) - widthOf(cell))
        return right[column] ? padding + cell : cell + padding
      })
      .join(GAP)
      .trimEnd()
  return [titles, ...texts].map((cells) => `${line(cells)}\n`).join('')
}

function cellText(cell: Cell): string {
  if (cell === null || cell === undefined || cell === '') return NOTHING
  // A line break or tab in a name must not look like another row or column.
  return String(cell).replace(/[\n\r\t]/g, ' ')
}

/** Columns a text takes on a terminal: code points, which is right for all but East Asian wide characters and emoji. */
function widthOf(text: string): number {
  let width = 0
  for (const _ of text) width++
  return width
}

/** A block of `name: value` lines with the values in one column. */
export function formatFacts(facts: readonly (readonly [name: string, value: Cell])[]): string {
  const width = Math.max(0, ...facts.map(([name]) => name.length))
  return facts.map(([name, value]) => `${name.padEnd(width)}${GAP}${cellText(value)}\n`).join('')
}

/** 1536 -> '1.5 KiB'. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024
    unit++
  }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`
}

/** 1234567 -> '1,234,567'. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** Writes to standard output, waiting when the reader is slower. A reader that went away ends the command quietly. */
export async function print(text: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}

/** One JSON document, readable, with a line break at its end. */
export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value, null, 2)}\n`)
}

/** A remark that is no result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** A line at the bottom of a terminal that says how far long work has come; silent where there is no terminal. */
export class Progress {
  readonly #active: boolean
  #shownMs = 0
  #shown = false

  constructor(active = process.stderr.isTTY === true) {
    this.#active = active
  }

  /** Shows the text, ten times a second at most. */
  update(text: () => string): void {
    if (!this.#active) return
    const nowMs = performance.now()
    if (nowMs - this.#shownMs < 100) return
    this.#shownMs = nowMs
    this.#shown = true
    process.stderr.write(`\r\x1b[K${text()}`)
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K')
    this.#shown = false
  }
}
