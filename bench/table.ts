// The figures of a run, by case and column, as a Markdown table with ratios in favour of the first column.
//
// Used by run.ts and cluster.ts; printed() by all.

import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import { nodeProgram } from '../test/support/broker.ts'
import type { Column } from './brokers.ts'

const ratioTitles: Record<Column, string> = {
  millrace: '',
  kafka: 'x page cache',
  'kafka-flush': 'x flushed',
  nothing: 'x nothing',
}

/** One line of the table: the figures of every round, by column. */
interface Row {
  label: string
  unit: string
  /** Whether a larger figure is the better one, which decides the direction of the ratios. */
  largerIsBetter: boolean
  figures: Map<Column, number[]>
}

export class Table {
  readonly #rows = new Map<string, Row>()

  record(column: Column, label: string, unit: string, largerIsBetter: boolean, figure: number): void {
    const row = this.#rows.get(label) ?? { label, unit, largerIsBetter, figures: new Map<Column, number[]>() }
    row.figures.set(column, [...(row.figures.get(column) ?? []), figure])
    this.#rows.set(label, row)
  }

  /** Medians over the rounds. */
  markdown(shown: readonly Column[], titles: Readonly<Record<Column, string>>): string {
    const others = shown.filter((column) => column !== 'millrace')
    const withRatios = shown.includes('millrace')
    const head = ['', 'unit', ...shown.map((column) => titles[column])]
    if (withRatios) head.push(...others.map((column) => ratioTitles[column]))
    const lines = [head, head.map((_, index) => (index === 0 ? '---' : '---:'))]
    for (const row of this.#rows.values()) {
      const medians = new Map(shown.map((column) => [column, median(row.figures.get(column) ?? [])]))
      const cells = [row.label, row.unit, ...shown.map((column) => printed(medians.get(column) ?? Number.NaN))]
      const own = medians.get('millrace') ?? Number.NaN
      if (withRatios) {
        for (const column of others) {
          const other = medians.get(column) ?? Number.NaN
          cells.push(printed(row.largerIsBetter ? own / other : other / own))
        }
      }
      lines.push(cells)
    }
    return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
  }
}

function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((left, right) => left - right)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

export function printed(figure: number): string {
  if (Number.isNaN(figure)) return '-'
  if (figure >= 1000) return Math.round(figure).toLocaleString('en-US')
  return figure >= 100 ? figure.toFixed(0) : figure >= 10 ? figure.toFixed(1) : figure.toFixed(2)
}

export function machineLine(): string {
  const model = cpus()[0]?.model ?? 'unknown processor'
  const kernel = execFileSync('uname', ['-sr'], { encoding: 'utf8' }).trim()
  const memory = Math.round(totalmem() / 2 ** 30)
  const fileSystem = execFileSync('stat', ['-f', '-c', '%T', process.env.MILLRACE_TEST_DIR ?? '/tmp'], {
    encoding: 'utf8',
  }).trim()
  return `Machine: ${cpus().length} x ${model}, ${memory} GiB, ${kernel}, ${fileSystem}, Node ${nodeVersion()}`
}

function nodeVersion(): string {
  return execFileSync(nodeProgram, ['--version'], { encoding: 'utf8' }).trim()
}
