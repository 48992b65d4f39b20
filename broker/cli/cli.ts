// The command line as a whole: which commands there are, how it is read, and what comes back as an exit code.
//
// Pure but for what the commands do; main.ts calls it with the process's arguments, tests with their own.

import yargs, { type Argv } from 'yargs'
import { brokerCommand } from './broker.ts'
import { clusterCommand } from './cluster-info.ts'
import { consumeCommand } from './consume.ts'
import { ExitCode, outcomeOf, UsageError } from './exit.ts'
import { groupCommand } from './group.ts'
import { logCommand } from './log.ts'
import { note, print } from './output.ts'
import { produceCommand } from './produce.ts'
import { startCommand } from './start.ts'
import { topicCommand } from './topic.ts'

export const VERSION = '0.1.0'
const WIDTH_MAX = 110

/** Reads the arguments, runs the command, prints one line if it fails. */
export async function runCommandLine(argv: readonly string[]): Promise<ExitCode> {
  try {
    await commandLine(argv).parseAsync()
    return ExitCode.DONE
  } catch (error) {
    const { line, exitCode } = outcomeOf(error)
    note(`millrace: ${line}`)
    return exitCode
  }
}

function commandLine(argv: readonly string[]): Argv {
  const parser = yargs([...argv])
  parser
    .scriptName('millrace')
    .locale('en')
    .usage('$0 <command>\n\nA Kafka-compatible broker, and a command line for it and for any other.')
    .wrap(Math.min(WIDTH_MAX, parser.terminalWidth()))
    .parserConfiguration({
      'duplicate-arguments-array': true,
      'parse-positional-numbers': false,
      'parse-numbers': false,
    })
    .exitProcess(false)
    .showHelpOnFail(false)
    .version(VERSION)
    .help()
    .alias('help', 'h')
    .strict()
    .fail((message, error) => {
      // yargs gives its own complaints as text, and what a command threw as an error.
      if (error instanceof Error && error.name !== 'YError') throw error
      const said = (message ?? error.message).replace(/^Not enough non-option arguments.*/, 'An argument is missing')
      throw new UsageError(`${said}. See --help of the command`)
    })
  startCommand(parser)
  parser.command('topic', 'Create, list, describe, alter, trim, delete topics', topicCommand)
  parser.command('group', 'List, describe, move, delete consumer groups', groupCommand)
  produceCommand(parser)
  consumeCommand(parser)
  parser.command('log', 'Look into segment files', logCommand)
  parser.command('broker', 'List brokers, send one away', brokerCommand)
  parser.command('cluster', 'Show the cluster', clusterCommand)
  completionCommand(parser)
  return parser
    .demandCommand(1, 'Say what to do')
    .recommendCommands()
    .example('$0 start', 'Run a broker on 127.0.0.1:9092')
    .example('$0 topic create orders -p 6', 'Create a topic with six partitions')
    .example('echo hello | $0 produce orders', 'Write a record')
    .example('$0 consume orders --print-key', 'Read what is there')
    .example('$0 group describe billing', "Show a group's lag")
    .epilogue(
      'Exit codes: 0 done, 1 refused by the broker or no broker there, 2 wrong usage.\n' +
        'MILLRACE_BOOTSTRAP=host:port names the brokers once for all commands.',
    )
}

function completionCommand(parser: Argv): void {
  parser.command(
    'completion [shell]',
    'Print a completion script for bash or zsh',
    (builder) =>
      builder
        .usage('$0 completion [shell]\n\nPrints a script that teaches a shell the commands and options.')
        .positional('shell', { choices: ['bash', 'zsh'] as const, describe: 'Shell; by default the one in $SHELL' })
        .example('$0 completion bash >> ~/.bashrc', 'For bash')
        .example('$0 completion zsh >> ~/.zshrc', 'For zsh'),
    async ({ shell }) => print(completionScript(shell ?? (process.env.SHELL?.includes('zsh') ? 'zsh' : 'bash'))),
  )
}

/** The words come from `millrace --get-yargs-completions`, which both scripts call. */
function completionScript(shell: 'bash' | 'zsh'): string {
  if (shell === 'zsh') {
    return `#compdef millrace
_millrace() {
  local -a words_found
  local line
  while IFS= read -r line; do words_found+=("$line"); done < <(SHELL=/bin/zsh millrace --get-yargs-completions "\${words[@]}" 2>/dev/null)
  if (( \${#words_found} )); then _describe 'millrace' words_found; else _default; fi
}
if [[ "\${zsh_eval_context[-1]}" == "loadautofunc" ]]; then _millrace "$@"; else compdef _millrace millrace; fi
`
  }
  return `_millrace() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(SHELL=/bin/bash millrace --get-yargs-completions "\${COMP_WORDS[@]}" 2>/dev/null)" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _millrace millrace
`
}
