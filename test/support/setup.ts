// Fetches what the client suites need beyond npm: Kafka's jars and librdkafka. `node test/support/setup.ts`

import { installKafka } from './kafka.ts'
import { hasProgram } from './process.ts'
import { installLibrdkafka } from './python.ts'

for (const [program, args, remedy] of [
  ['java', ['-version'], 'apt-get install default-jdk-headless'],
  ['mvn', ['-v'], 'apt-get install maven'],
  ['python3', ['-c', 'import venv, ensurepip'], 'apt-get install python3-venv'],
] as const) {
  if (!(await hasProgram(program, args))) {
    console.error(`${program} is missing: ${remedy}`)
    process.exit(1)
  }
}
await Promise.all([installKafka(), installLibrdkafka()])
console.log('Kafka 4.3.0 and librdkafka are ready')
