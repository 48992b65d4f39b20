// Every Disk there is for a real machine, each through the same tests, on a real file system and on one in memory.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { loadNative } from '../../../native/index.ts'
import { BLOCK_BYTES, type Disk, DiskError } from '../../../storage/disk.ts'
import { openNativeDisk } from '../../../storage/native-disk.ts'
import { type DiskMethod, type OpenedDisk, openDisk } from '../../../storage/open-disk.ts'

const run = promisify(execFile)
const native = loadNative()
const noRing = process.env.MILLRACE_TEST_NO_RING
const openDiskUrl = new URL('../../../storage/open-disk.ts', import.meta.url).href

function aligned(bytes: number, fill: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(bytes, { maxByteLength: bytes })).fill(fill)
}

async function whyNot(method: DiskMethod): Promise<string | false> {
  try {
    await (await openDisk(tmpdir(), { method })).close()
    return false
  } catch (error) {
    return `${method} does not work here: ${(error as DiskError).code}`
  }
}

const cases: { method: DiskMethod; buffered: boolean; base: string }[] = []
for (const base of [tmpdir(), '/dev/shm']) {
  if (!existsSync(base)) continue
  for (const method of ['io_uring', 'threads', 'node-fs'] as const) {
    cases.push({ method, buffered: false, base })
    if (method !== 'node-fs') cases.push({ method, buffered: true, base })
  }
}

for (const { method, buffered, base } of cases) {
  const skip = await whyNot(method)
  describe(`${method}${buffered ? ', page cache' : ''} in ${base}`, { skip, timeout: 60_000 }, () => {
    const directory = mkdtempSync(join(base, 'millrace-disk-'))
    const at = (name: string) => join(directory, name)
    let disk: OpenedDisk
    before(async () => {
      disk = await openDisk(directory, { method, buffered })
    })
    after(async () => {
      await disk.close()
      rmSync(directory, { recursive: true, force: true })
    })

    test('says how bytes move', () => {
      assert.equal(disk.method, method)
      assert.ok(disk.description.startsWith(`${method}, ${disk.direct ? 'O_DIRECT' : 'page cache'}`), disk.description)
      if (buffered || method === 'node-fs') assert.equal(disk.direct, false)
    })

    test('leaves nothing behind from finding that out', async () => {
      assert.deepEqual(await disk.list(directory), [])
    })

    test('reads back what it wrote, durably or not, and stops at the end of the file', async () => {
      const file = await disk.open(at('blocks'), { mode: 'create-new', direct: true })
      assert.equal(file.direct, disk.direct)
      assert.equal(file.path, at('blocks'))
      await file.write(aligned(3 * BLOCK_BYTES, 1), 0, true)
      await file.write(aligned(BLOCK_BYTES, 2), BLOCK_BYTES, false)
      await file.sync()
      const into = aligned(8 * BLOCK_BYTES, 0)
      assert.equal(await file.read(into, 0), 3 * BLOCK_BYTES)
      assert.deepEqual([into[0], into[BLOCK_BYTES], into[2 * BLOCK_BYTES], into[3 * BLOCK_BYTES]], [1, 2, 1, 0])
      assert.equal(await file.read(into, 4 * BLOCK_BYTES), 0)
      // An end in the middle of a block.
      await file.truncate(BLOCK_BYTES + 100)
      assert.equal(await file.read(into, BLOCK_BYTES), 100)
      assert.equal((await file.stat()).sizeBytes, BLOCK_BYTES + 100)
      await file.close()
      assert.equal(readFileSync(at('blocks')).length, BLOCK_BYTES + 100)
    })

    test('takes any range of a file that is not direct', async () => {
      const file = await disk.open(at('bytes'), { mode: 'create', direct: false })
      assert.equal(file.direct, false)
      await file.write(Buffer.from('hello world'), 3, true)
      const into = new Uint8Array(5)
      assert.equal(await file.read(into, 9), 5)
      assert.equal(Buffer.from(into).toString(), 'world')
      await file.close()
    })

    test('many writes at once land where they belong', async () => {
      const file = await disk.open(at('many'), { mode: 'create', direct: true })
      await file.allocate(0, 256 * BLOCK_BYTES, 'keep-size')
      const order = Array.from({ length: 256 }, (_, i) => (i * 37) % 256)
      await Promise.all(order.map((i) => file.write(aligned(BLOCK_BYTES, i), i * BLOCK_BYTES, i % 8 === 0)))
      await file.close()
      const content = readFileSync(at('many'))
      for (let i = 0; i < 256; i++) assert.equal(content[i * BLOCK_BYTES + 1234], i)
    })

    test('sets space aside with and without growing the file, and never shrinks it', async () => {
      const file = await disk.open(at('space'), { mode: 'create', direct: false })
      await file.allocate(0, 1 << 20, 'keep-size')
      assert.equal((await file.stat()).sizeBytes, 0)
      await file.allocate(0, 1 << 20, 'extend')
      await file.allocate(0, 1 << 10, 'extend')
      const stat = await file.stat()
      assert.equal(stat.sizeBytes, 1 << 20)
      assert.equal(stat.isDirectory, false)
      const into = new Uint8Array(100).fill(1)
      assert.equal(await file.read(into, 5000), 100)
      assert.ok(into.every((byte) => byte === 0))
      await file.close()
    })

    test('open modes do what they say', async () => {
      const path = at('modes')
      await assert.rejects(disk.open(path, { mode: 'r', direct: true }), { code: 'ENOENT', operation: 'open', path })
      await assert.rejects(disk.open(path, { mode: 'rw', direct: true }), { name: 'DiskError', code: 'ENOENT' })
      await (await disk.open(path, { mode: 'create-new', direct: true })).close()
      await assert.rejects(disk.open(path, { mode: 'create-new', direct: true }), { code: 'EEXIST', path })
      await (await disk.open(path, { mode: 'create', direct: true })).close()
      const reader = await disk.open(path, { mode: 'r', direct: true })
      await assert.rejects(reader.write(aligned(BLOCK_BYTES, 0), 0, false), { code: 'EBADF', operation: 'write', path })
      await reader.close()
    })

    test('a failure is a DiskError with errno, operation and path', async () => {
      const missing = at('no/such/file')
      for (const [operation, code, attempt] of [
        ['open', 'ENOENT', () => disk.open(missing, { mode: 'create', direct: true })],
        ['rename', 'ENOENT', () => disk.rename(missing, at('x'))],
        ['sync directory', 'ENOENT', () => disk.syncDirectory(missing)],
        ['free space', 'ENOENT', () => disk.freeSpace(missing)],
      ] as const) {
        await assert.rejects(attempt, (error) => {
          assert.ok(error instanceof DiskError)
          assert.deepEqual([error.code, error.operation, error.path], [code, operation, missing])
          return true
        })
      }
    })

    test('a full device is ENOSPC', { skip: !existsSync('/dev/full') && 'there is no /dev/full' }, async () => {
      const file = await disk.open('/dev/full', { mode: 'rw', direct: false })
      await assert.rejects(file.write(new Uint8Array(512), 0, false), {
        code: 'ENOSPC',
        operation: 'write',
        path: '/dev/full',
      })
      await file.close()
    })

    test('names and directories', async () => {
      const nested = at('a/b/c')
      await disk.makeDirectory(nested)
      await disk.makeDirectory(nested)
      writeFileSync(join(nested, 'one'), 'x')
      await disk.rename(join(nested, 'one'), join(nested, 'two'))
      await disk.syncDirectory(nested)
      assert.deepEqual(await disk.list(nested), ['two'])
      assert.equal((await disk.stat(join(nested, 'two')))!.sizeBytes, 1)
      assert.equal((await disk.stat(nested))!.isDirectory, true)
      assert.equal((await disk.stat(nested))!.uid, process.getuid!())
      await disk.remove(join(nested, 'two'))
      await disk.remove(join(nested, 'two'))
      assert.equal(await disk.stat(join(nested, 'two')), undefined)
      await disk.removeDirectory(at('a'))
      await disk.removeDirectory(at('a'))
      assert.deepEqual(await disk.list(nested), [])
      const { freeBytes, totalBytes } = await disk.freeSpace(directory)
      assert.ok(freeBytes > 0 && freeBytes <= totalBytes)
    })

    test('a closed file refuses, whatever got its descriptor since', async () => {
      const file = await disk.open(at('closed'), { mode: 'create', direct: false })
      await file.close()
      const other = await disk.open(at('other'), { mode: 'create', direct: false })
      await assert.rejects(file.write(new Uint8Array(1), 0, false), { code: 'EBADF' })
      await assert.rejects(file.read(new Uint8Array(1), 0), { code: 'EBADF' })
      assert.equal((await other.stat()).sizeBytes, 0)
      await other.close()
    })

    test('a direct transfer that is not aligned is our own mistake', async (context) => {
      if (!disk.direct) return context.skip('the page cache takes everything')
      const file = await disk.open(at('unaligned'), { mode: 'create', direct: true })
      assert.throws(() => file.write(aligned(BLOCK_BYTES, 0), 512, false), { name: 'InvariantViolation' })
      assert.throws(() => file.read(aligned(512, 0), 0), { name: 'InvariantViolation' })
      await file.close()
    })

    test('a directory is locked once, in this process too, whatever the others use', async () => {
      await disk.makeDirectory(at('locked'))
      const lock = await disk.lock(at('locked'))
      assert.ok(lock)
      const others = await Promise.all(
        (['io_uring', 'threads', 'node-fs'] as const).map((other) =>
          openDisk(directory, { method: other }).catch(() => undefined),
        ),
      )
      for (const other of others) {
        if (other === undefined) continue
        assert.equal(await other.lock(at('locked')), undefined, other.method)
      }
      await lock.release()
      for (const other of others) {
        if (other === undefined) continue
        const next = await other.lock(at('locked'))
        assert.ok(next, other.method)
        await next.release()
        await other.close()
      }
      await assert.rejects(disk.lock(at('nowhere')), { name: 'DiskError', code: 'ENOENT' })
    })

    test('the lock of a process that was killed is free', async () => {
      const path = at('killed')
      await disk.makeDirectory(path)
      // With the same process number it could still be told apart: by when the process started.
      const code = `import { openDisk } from ${JSON.stringify(openDiskUrl)}
        const lock = await (await openDisk(process.argv[1], { method: '${method}' })).lock(process.argv[1])
        console.log(lock !== undefined)
        process.kill(process.pid, 'SIGKILL')`
      const died = await run(process.execPath, ['--input-type=module', '-e', code, path]).catch((error) => error)
      assert.deepEqual([died.signal, died.stdout], ['SIGKILL', 'true\n'])
      const lock = await disk.lock(path)
      assert.ok(lock)
      await lock.release()
    })

    test('the lock of a running process is not', async () => {
      const path = at('running')
      await disk.makeDirectory(path)
      const lock = await disk.lock(path)
      const code = `import { openDisk } from ${JSON.stringify(openDiskUrl)}
        for (const method of ['auto', 'node-fs']) {
          const disk = await openDisk(process.argv[1], { method })
          console.log(await disk.lock(process.argv[1]))
          await disk.close()
        }`
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code, path])
      assert.equal(stdout, 'undefined\nundefined\n')
      await lock!.release()
    })
  })
}

test('a lock file with our process number but of another start is stale', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-disk-'))
  const disk: Disk = await openDisk(directory, { method: 'node-fs' })
  for (const stale of [`${process.pid} other-boot 12345\n`, '', '4194304 gone 1\n']) {
    writeFileSync(join(directory, '.lock.pid'), stale)
    const lock = await disk.lock(directory)
    assert.ok(lock, JSON.stringify(stale))
    await lock.release()
  }
  assert.deepEqual(await disk.list(directory), [])
  rmSync(directory, { recursive: true })
})

test('a file system that refuses O_DIRECT is used through the page cache', {
  skip: native === undefined || process.platform !== 'linux',
}, async () => {
  // The one refusal that every Linux has at hand.
  const disk = await openNativeDisk(tmpdir(), { forceMethod: 'threads' })
  const file = await disk.open('/proc/self/status', { mode: 'r', direct: true })
  assert.equal(file.direct, false)
  assert.ok((await file.read(new Uint8Array(100), 0)) > 0)
  await file.close()
  await disk.close()
})

test('the automatic choice is the best that works, and says why it is not better', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-disk-'))
  const disk = await openDisk(directory, { method: 'auto' })
  if (native === undefined) {
    assert.match(disk.description, /^node-fs, page cache \(addon: .+\)$/)
  } else if (noRing !== undefined) {
    assert.equal(disk.method, 'threads')
    assert.ok(disk.description.includes(`io_uring: ${noRing}`), disk.description)
    await assert.rejects(openDisk(directory, { method: 'io_uring' }), { name: 'DiskError', code: noRing })
  } else if ((await whyNot('io_uring')) === false) {
    assert.equal(disk.method, 'io_uring')
  } else {
    assert.equal(disk.method, 'threads')
    assert.match(disk.description, /io_uring: E/)
  }
  await disk.close()
  rmSync(directory, { recursive: true })
})

test('without the addon the disk is Node fs, and says so', async () => {
  const code = `import { openDisk } from ${JSON.stringify(openDiskUrl)}
    console.log((await openDisk(process.argv[1])).description)`
  const env = { ...process.env, MILLRACE_ADDON: 'off', MILLRACE_IO: '' }
  delete (env as Record<string, string | undefined>).MILLRACE_IO
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code, tmpdir()], { env })
  assert.equal(stdout, 'node-fs, page cache (addon: switched off by MILLRACE_ADDON)\n')
})

test('MILLRACE_IO forces a method, and a wrong word is refused', async () => {
  const code = `import { openDisk } from ${JSON.stringify(openDiskUrl)}
    console.log((await openDisk(process.argv[1])).method)`
  const withMethod = (method: string) =>
    run(process.execPath, ['--input-type=module', '-e', code, tmpdir()], {
      env: { ...process.env, MILLRACE_IO: method },
    })
  assert.equal((await withMethod('node-fs')).stdout, 'node-fs\n')
  if (native !== undefined) assert.equal((await withMethod('threads')).stdout, 'threads\n')
  await assert.rejects(withMethod('fastest'), {
    message: /MILLRACE_IO is one of auto, io_uring, threads, node-fs, not fastest/,
  })
})
