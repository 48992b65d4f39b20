// Network namespaces on one bridge: brokers that reach each other and the tests over addresses of their own, and can be cut off.
//
// Needs the right to make them (root, iproute2). One instance per test; close() removes everything.

import { execFileSync } from 'node:child_process'

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** What was never made need not go. */
function remove(...args: string[]): void {
  try {
    ip(...args)
  } catch {
    // It is not there.
  }
}

/** Whether namespaces can be made here; an error with MILLRACE_REQUIRE_CLIENTS=1 when not. */
export function namespacesAvailable(): boolean {
  const name = `mr-probe-${process.pid}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'del', name)
    return true
  } catch (error) {
    if (process.env.MILLRACE_REQUIRE_CLIENTS !== '1') return false
    throw new Error('no network namespaces can be made here, so no connection can be cut: it takes root and iproute2', {
      cause: error,
    })
  }
}

export class Namespaces {
  readonly count: number
  readonly #prefix: string
  readonly #subnet: string

  /** Makes namespaces 0 to count - 1 and gives this process the address `.254` among them. */
  constructor(count: number) {
    this.count = count
    this.#prefix = `mr${process.pid}`
    // One subnet per test process, so that several may run side by side.
    this.#subnet = `10.${200 + (process.pid % 50)}.${(process.pid >> 6) % 250}`
    try {
      ip('link', 'add', this.#bridge, 'type', 'bridge')
      ip('link', 'set', this.#bridge, 'up')
      ip('addr', 'add', `${this.#subnet}.254/24`, 'dev', this.#bridge)
      for (let at = 0; at < count; at++) {
        const name = this.#name(at)
        ip('netns', 'add', name)
        ip('link', 'add', this.#port(at), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
        ip('link', 'set', this.#port(at), 'master', this.#bridge, 'up')
        ip('-n', name, 'addr', 'add', `${this.address(at)}/24`, 'dev', 'eth0')
        ip('-n', name, 'link', 'set', 'eth0', 'up')
        ip('-n', name, 'link', 'set', 'lo', 'up')
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  get #bridge(): string {
    return `${this.#prefix}b`
  }

  #name(at: number): string {
    return `${this.#prefix}-${at}`
  }

  #port(at: number): string {
    return `${this.#prefix}v${at}`
  }

  address(at: number): string {
    return `${this.#subnet}.${at + 1}`
  }

  /** What a command line is put behind so that it runs in a namespace. */
  wrapper(at: number): string[] {
    return ['ip', 'netns', 'exec', this.#name(at)]
  }

  /** Nothing that `from` sends reaches `to` any more; the other direction stays. */
  cut(from: number, to: number): void {
    ip('-n', this.#name(from), 'route', 'replace', 'blackhole', `${this.address(to)}/32`)
  }

  heal(from: number, to: number): void {
    try {
      ip('-n', this.#name(from), 'route', 'del', 'blackhole', `${this.address(to)}/32`)
    } catch {
      // It was not cut.
    }
  }

  /** Cuts one from all others, in both directions or only what it sends; clients reach it still. */
  isolate(at: number, how: 'both' | 'outgoing' | 'incoming' = 'both'): void {
    for (let other = 0; other < this.count; other++) {
      if (other === at) continue
      if (how !== 'incoming') this.cut(at, other)
      if (how !== 'outgoing') this.cut(other, at)
    }
  }

  healAll(): void {
    for (let from = 0; from < this.count; from++) {
      for (let to = 0; to < this.count; to++) if (from !== to) this.heal(from, to)
    }
  }

  close(): void {
    for (let at = 0; at < this.count; at++) {
      // By itself: a connection of a killed process that was cut off keeps its namespace, and with it this link, for minutes.
      remove('link', 'del', this.#port(at))
      remove('netns', 'del', this.#name(at))
    }
    remove('link', 'del', this.#bridge)
  }
}
