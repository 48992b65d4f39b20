// The set-up of a fresh checkout, against stand-ins for npm and make: what it runs, what it says, what it leaves alone.

import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { repositoryDirectory, run, type ToolResult, temporaryDirectory } from '../support/process.ts'

const systemPrograms = ['sh', 'dirname', 'cmp', 'cp', 'id', 'mkdir', 'ln', 'touch', 'flock', 'sleep']

class Checkout {
  readonly directory: string
  readonly #programs: string

  private constructor(directory: string) {
    this.directory = directory
    this.#programs = join(directory, 'programs of the machine')
  }

  static async make(): Promise<Checkout> {
    const base = await temporaryDirectory('set-up')
    const checkout = new Checkout(join(base, 'a path with spaces'))
    await mkdir(join(checkout.directory, '.toolchain'), { recursive: true })
    await mkdir(join(checkout.directory, 'native'))
    await mkdir(checkout.#programs)
    await copyFile(join(repositoryDirectory, '.toolchain/setup.sh'), join(checkout.directory, '.toolchain/setup.sh'))
    await writeFile(join(checkout.directory, 'package-lock.json'), '{"first":true}\n')
    for (const name of systemPrograms) {
      const found = await run('/bin/sh', ['-c', `command -v ${name}`])
      if (found.code === 0) await symlink(found.stdout.trim(), join(checkout.#programs, name))
    }
    return checkout
  }

  /** Puts a shell script in the way of a program. */
  async program(name: string, script: string): Promise<void> {
    await writeFile(join(this.#programs, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }

  /** npm as the set-up uses it: `npm ci` notes that it ran, and installs a Node of that major version. */
  npm(major = 26): Promise<void> {
    return this.program(
      'npm',
      `echo "npm $*" >> "${this.log}"
mkdir -p node_modules/.bin
sleep 0.2
printf '#!/bin/sh\\necho ${major}\\n' > node_modules/.bin/node.new
cp node_modules/.bin/node.new node_modules/.bin/node
"${process.execPath}" -e 'fs.chmodSync("node_modules/.bin/node", 0o755)'`,
    )
  }

  async compiler(): Promise<void> {
    await this.program('g++', '')
    await this.program(
      'make',
      `echo "make $*" >> "${this.log}"; mkdir -p native/build; touch native/build/millrace.node`,
    )
  }

  get log(): string {
    return join(this.directory, 'log')
  }

  async ran(): Promise<string[]> {
    const text = await readFile(this.log, 'utf8').catch(() => '')
    return text.split('\n').filter((line) => line !== '')
  }

  setUp(): Promise<ToolResult> {
    return run('/bin/sh', [join(this.directory, '.toolchain/setup.sh')], {
      cwd: '/',
      env: { PATH: this.#programs, HOME: this.directory },
      timeoutMs: 20_000,
    })
  }
}

const install =
  'npm ci --fetch-timeout=30000 --fetch-retries=5 --include=dev --include=optional --no-audit --no-fund --loglevel=error'

test('a fresh checkout gets its dependencies and its addon, a second run installs nothing and says nothing', async () => {
  const checkout = await Checkout.make()
  await checkout.npm()
  await checkout.compiler()
  const first = await checkout.setUp()
  assert.equal(first.code, 0, first.stderr)
  assert.deepEqual(await checkout.ran(), [install, 'make -s -C native'])
  const second = await checkout.setUp()
  assert.deepEqual([second.code, second.stdout, second.stderr], [0, '', ''])
  assert.deepEqual(await checkout.ran(), [install, 'make -s -C native', 'make -s -C native'])
})

test('other dependencies in the lock file are installed', async () => {
  const checkout = await Checkout.make()
  await checkout.npm()
  await checkout.compiler()
  await checkout.setUp()
  await writeFile(join(checkout.directory, 'package-lock.json'), '{"second":true}\n')
  assert.equal((await checkout.setUp()).code, 0)
  assert.equal((await checkout.ran()).filter((line) => line === install).length, 2)
})

test('several at once on a fresh checkout install once', async (t) => {
  if ((await run('/bin/sh', ['-c', 'command -v flock'])).code !== 0) return t.skip('there is no flock here')
  const checkout = await Checkout.make()
  await checkout.npm()
  await checkout.compiler()
  const results = await Promise.all([checkout.setUp(), checkout.setUp(), checkout.setUp()])
  for (const { code, stderr } of results) assert.equal(code, 0, stderr)
  assert.equal((await checkout.ran()).filter((line) => line === install).length, 1)
})

test('without a compiler one line names it and the command that installs it, and the set-up succeeds', async () => {
  const checkout = await Checkout.make()
  await checkout.npm()
  await checkout.program('apt-get', '')
  const { code, stderr } = await checkout.setUp()
  assert.equal(code, 0)
  const [installing, missing, ...more] = stderr.trimEnd().split('\n')
  assert.match(installing ?? '', /installing dependencies/)
  assert.match(missing ?? '', /no make and g\+\+ here.*plain Node fs.*apt-get install -y g\+\+ make$/)
  assert.deepEqual(more, [])
})

test('an addon that does not compile is said, and the set-up succeeds', async () => {
  const checkout = await Checkout.make()
  await checkout.npm()
  await checkout.program('g++', '')
  await checkout.program('make', 'echo "file.cc: error" >&2; exit 2')
  const { code, stderr } = await checkout.setUp()
  assert.equal(code, 0)
  assert.match(stderr, /file\.cc: error\n.*the addon did not build, so files go through plain Node fs/)
})

test('without npm one line names it and the command that installs it', async () => {
  const checkout = await Checkout.make()
  await checkout.program('apt-get', '')
  const { code, stderr } = await checkout.setUp()
  assert.equal(code, 1)
  assert.match(stderr, /^millrace: npm is missing: (sudo )?apt-get install -y npm\n$/)
})

test('dependencies that cannot be installed stop the set-up, and are tried again by the next run', async () => {
  const checkout = await Checkout.make()
  await checkout.program('npm', 'echo "npm error network" >&2; exit 1')
  await checkout.compiler()
  const { code, stderr } = await checkout.setUp()
  assert.equal(code, 1)
  assert.match(stderr, /npm error network\nmillrace: the dependencies could not be installed/)
  await checkout.npm()
  assert.equal((await checkout.setUp()).code, 0)
})

test('a machine that has only an old Node is told which one is needed', async () => {
  const checkout = await Checkout.make()
  await checkout.npm(20)
  await checkout.compiler()
  const { code, stderr } = await checkout.setUp()
  assert.equal(code, 1)
  assert.match(stderr, /Node 24 or later is needed here/)
})
