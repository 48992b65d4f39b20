// The addresses a broker listens on and the ones it tells its clients, from Kafka's listener settings.
//
// Pure functions, run once at start on the main thread.

import { OperatorError } from '../operator-error.ts'

export interface Listener {
  /** Upper-case name, as in CallContext.listenerName. */
  readonly name: string
  /** Empty for every interface. IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly securityProtocol: string
}

const SECURITY_PROTOCOLS = new Set(['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'])

/**
 * Reads `NAME://host:port` items.
 * @param setting name of the config, for the error
 * @param protocolMap text of listener.security.protocol.map
 * @throws OperatorError for a malformed item, a name given twice, a name without a protocol
 */
export function parseListeners(setting: string, items: readonly string[], protocolMap: string): Listener[] {
  const protocols = parseProtocolMap(protocolMap)
  const listeners: Listener[] = []
  for (const item of items) {
    const parts = /^([A-Za-z0-9_-]+):\/\/(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]/]*)):([0-9]{1,5})$/.exec(item)
    const port = Number(parts?.[4])
    if (parts === null || port > 65535) {
      throw new OperatorError(
        'CONFIG_INVALID',
        `invalid value ${item} for configuration ${setting}: not of the form NAME://host:port`,
        `Write ${setting} as for example PLAINTEXT://127.0.0.1:9092.`,
      )
    }
    const name = (parts[1] ?? '').toUpperCase()
    const securityProtocol = protocols.get(name)
    if (securityProtocol === undefined) {
      throw new OperatorError(
        'CONFIG_INVALID',
        `no security protocol is defined for listener ${name} of ${setting}`,
        `Add ${name}:PLAINTEXT to listener.security.protocol.map.`,
      )
    }
    if (listeners.some((other) => other.name === name)) {
      throw new OperatorError(
        'CONFIG_INVALID',
        `${setting} names listener ${name} twice`,
        'Give each listener a name of its own in listeners and listener.security.protocol.map.',
      )
    }
    listeners.push({ name, host: parts[2] ?? parts[3] ?? '', port, securityProtocol })
  }
  return listeners
}

function parseProtocolMap(text: string): Map<string, string> {
  const protocols = new Map<string, string>()
  for (const item of text.split(',')) {
    if (item.trim() === '') continue
    const [name = '', protocol = ''] = item.split(':').map((part) => part.trim().toUpperCase())
    if (name === '' || !SECURITY_PROTOCOLS.has(protocol)) {
      throw new OperatorError(
        'CONFIG_INVALID',
        `invalid value ${item.trim()} for configuration listener.security.protocol.map`,
        'Write it as NAME:PROTOCOL, PROTOCOL being one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL.',
      )
    }
    protocols.set(name, protocol)
  }
  return protocols
}
