// `millrace start`: a broker in the foreground, the same as `npm start`.
//
// The broker's modules are loaded only when it is really started, so that the other commands stay quick.

import type { Argv } from 'yargs'
import type { StartFlags } from '../start-flags.ts'

export function startCommand(yargs: Argv): Argv {
  return yargs.command('start', 'Run a broker in the foreground', startOptions, async (args) => {
    const { runBroker } = await import('../run.ts')
    await runBroker(args)
  })
}

function startOptions(yargs: Argv): Argv<StartFlags> {
  const text = { type: 'string', requiresArg: true } as const
  return yargs
    .usage('$0 start\n\nRuns a broker until it is told to stop (SIGTERM, Ctrl-C).')
    .option('port', { ...text, defaultDescription: '9092', describe: 'Port for clients; 0 takes any that is free' })
    .option('host', { ...text, defaultDescription: '127.0.0.1', describe: 'Address to listen on' })
    .option('data-dir', { ...text, defaultDescription: './data', describe: 'Where topics are kept' })
    .option('shards', { ...text, defaultDescription: 'one per core', describe: 'Worker threads' })
    .option('memory', {
      ...text,
      defaultDescription: 'a quarter of the machine, 1 GiB at most',
      describe: 'Memory for batches in flight and in cache',
    })
    .option('metrics-port', {
      ...text,
      defaultDescription: '9644, or any free one with --port',
      describe: 'HTTP port for Prometheus',
    })
    .option('node-id', { ...text, defaultDescription: '1', describe: 'Number of this broker in its cluster' })
    .option('peer-port', {
      ...text,
      describe: 'Port for the other brokers of a cluster; without it the broker is alone',
    })
    .option('peer-host', { ...text, defaultDescription: '127.0.0.1', describe: 'Address where other brokers reach it' })
    .option('seed', {
      ...text,
      array: true,
      nargs: 1,
      describe: 'host:port of peer ports of the cluster, commas between them; the first one running founds it',
    })
    .option('config', { ...text, describe: 'A properties file with Kafka settings' })
    .option('set', {
      ...text,
      array: true,
      nargs: 1,
      describe: 'A Kafka setting, name=value; may be repeated, stronger than the file',
    })
    .example('$0 start', 'A broker on 127.0.0.1:9092 with its data in ./data')
    .example('$0 start --port 9192 --data-dir /var/lib/millrace --memory 2GiB', 'Elsewhere, with more memory')
    .example('$0 start --node-id 1 --peer-port 9192 --seed a:9192,b:9192,c:9192', 'One of three brokers')
    .example('$0 start --set auto.create.topics.enable=false', 'With a Kafka setting')
}
