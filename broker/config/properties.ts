// Java properties files, the format of Kafka's server.properties (java.util.Properties.load).
//
// Pure function; main.ts reads the file and hands in its text.

/**
 * Reads the text of a properties file: `name=value`, `name: value` or `name value`, `#` and `!` comments, a backslash at the
 * end of a line continues it, `\t \n \r \f \uXXXX` are decoded. A name given twice keeps its last value.
 * Format: java.util.Properties.load(Reader). A `\u` that no four hexadecimal digits follow stays as it is.
 */
export function parseProperties(text: string): Map<string, string> {
  const properties = new Map<string, string>()
  for (const line of logicalLines(text)) {
    const end = nameEnd(line)
    const name = decode(line.slice(0, end))
    const value = decode(line.slice(end).replace(/^[ \t\f]*[=:]?[ \t\f]*/, ''))
    properties.set(name, value)
  }
  return properties
}

/** Lines joined over trailing backslashes, without comments and blank lines, leading white space removed. */
function logicalLines(text: string): string[] {
  const lines: string[] = []
  let joined: string | undefined
  for (const natural of text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)) {
    const line = natural.replace(/^[ \t\f]+/, '')
    if (joined === undefined && (line === '' || line.startsWith('#') || line.startsWith('!'))) continue
    joined = (joined ?? '') + line
    const backslashes = /\\*$/.exec(line)?.[0].length ?? 0
    if (backslashes % 2 === 1) {
      joined = joined.slice(0, -1)
      continue
    }
    lines.push(joined)
    joined = undefined
  }
  if (joined !== undefined && joined !== '') lines.push(joined)
  return lines
}

/** Where the name ends: the first '=', ':' or white space without a backslash before it. */
function nameEnd(line: string): number {
  for (let at = 0; at < line.length; at++) {
    const character = line[at] ?? ''
    if (character === '\\') at++
    else if ('=: \t\f'.includes(character)) return at
  }
  return line.length
}

const ESCAPES: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' }

function decode(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/gs, (whole, hex: string | undefined, single: string | undefined) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16))
    if (single === 'u') return whole
    return ESCAPES[single ?? ''] ?? single ?? ''
  })
}
