// Disk queues of the addon, each method in turn: transfers, failures, and threads that end in the middle.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { ALIGNMENT_BYTES, loadNative, NativeFailure, type Queue, type QueueMethod } from '../../../native/index.ts'
import type { DiskPlan } from './disk-worker.ts'

const native = loadNative()
const directory = mkdtempSync(join(tmpdir(), 'millrace-queue-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const failure = (code: string, operation: string, path: string) => new NativeFailure(code, operation, path)
const CREATE = constants.O_RDWR | constants.O_CREAT

function whyNot(method: QueueMethod): string | false {
  if (native === undefined) return 'the addon is not built'
  try {
    void native.openQueue({ method, failure }).close()
    return false
  } catch (error) {
    return `${method} does not work here: ${(error as NativeFailure).code}`
  }
}

for (const method of ['io_uring', 'threads'] as const) {
  const skip = whyNot(method)
  const open = (depth?: number): Queue => native!.openQueue({ method, failure, depth })

  describe(`with ${method}`, { skip, timeout: 60_000 }, () => {
    test('what is written is read back, to the end of the file and no further', async () => {
      const queue = open()
      const path = join(directory, `${method}-plain`)
      const fd = await queue.open(path, CREATE, 0o600)
      const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => i)
      assert.equal(await queue.write(fd, bytes, 100, false, path), 10_000)
      const into = new Uint8Array(20_000)
      assert.equal(await queue.read(fd, into, 100, path), 10_000)
      assert.deepEqual(into.subarray(0, 10_000), bytes)
      assert.equal(await queue.read(fd, into, 10_100, path), 0)
      assert.equal(await queue.read(fd, new Uint8Array(0), 0, path), 0)
      assert.deepEqual(readFileSync(path).subarray(100), Buffer.from(bytes))
      await queue.closeFile(fd, path)
      await queue.close()
    })

    test('a durable write and a sync resolve, with as many bytes as were given', async () => {
      const queue = open()
      const path = join(directory, `${method}-durable`)
      const fd = await queue.open(path, CREATE, 0o600)
      assert.equal(await queue.write(fd, new Uint8Array(8192).fill(3), 0, true, path), 8192)
      assert.equal(await queue.sync(fd, path), 0)
      await queue.close()
    })

    test('more work than the kernel takes at once waits its turn', async () => {
      const queue = open(8)
      const path = join(directory, `${method}-many`)
      const fd = await queue.open(path, CREATE, 0o600)
      const block = (i: number) => new Uint8Array(512).fill(i)
      const writes = Array.from({ length: 3000 }, (_, i) => queue.write(fd, block(i), i * 512, false, path))
      assert.equal(queue.inFlight, 3000)
      await Promise.all(writes)
      assert.equal(queue.inFlight, 0)
      const content = readFileSync(path)
      for (let i = 0; i < 3000; i++) assert.equal(content[i * 512 + 511], i & 0xff)
      await queue.close()
    })

    test('submit starts work before the turn of the loop ends', async () => {
      const queue = open()
      const path = join(directory, `${method}-submit`)
      const fd = await queue.open(path, CREATE, 0o600)
      const write = queue.write(fd, new Uint8Array(4096), 0, true, path)
      queue.submit()
      assert.equal(await write, 4096)
      await queue.close()
      queue.submit()
    })

    test('a file past the page cache takes aligned transfers and refuses others with EINVAL', async (context) => {
      const queue = open()
      const path = join(directory, `${method}-direct`)
      let fd: number
      try {
        fd = await queue.open(path, CREATE | native!.openDirect, 0o600)
      } catch (error) {
        assert.equal((error as NativeFailure).code, 'EINVAL')
        await queue.close()
        return context.skip('this file system has no O_DIRECT')
      }
      const memory = new Uint8Array(native!.alignedMemory(64 * 1024))
      assert.ok(native!.isAligned(memory))
      memory.fill(9)
      assert.equal(await queue.write(fd, memory, 4096, true, path), memory.length)
      memory.fill(0)
      assert.equal(await queue.read(fd, memory, 4096, path), memory.length)
      assert.ok(memory.every((byte) => byte === 9))
      // The file's end within the range: short, though there is no aligned way to go on from there.
      await queue.truncate(fd, 4096 + 5000, path)
      assert.equal(await queue.read(fd, memory, 4096, path), 5000)
      await assert.rejects(queue.write(fd, memory.subarray(1, 4097), 0, true, path), {
        code: 'EINVAL',
        operation: 'write',
        path,
      })
      await queue.close()
    })

    test('space is set aside with and without growing the file', async (context) => {
      const queue = open()
      const path = join(directory, `${method}-allocate`)
      const fd = await queue.open(path, CREATE, 0o600)
      try {
        await queue.allocate(fd, 0, 1 << 20, true, path)
      } catch (error) {
        assert.match((error as NativeFailure).code, /^E(OPNOTSUPP|NOTSUP)$/)
        await queue.close()
        return context.skip('this file system has no fallocate')
      }
      assert.deepEqual([...queue.stat(fd, path)].slice(0, 2), [0, 1 << 20])
      await queue.allocate(fd, 1 << 20, 1 << 20, false, path)
      assert.deepEqual([...queue.stat(fd, path)].slice(0, 2), [2 << 20, 2 << 20])
      await queue.truncate(fd, 4096, path)
      assert.equal(queue.stat(fd, path)[0], 4096)
      await queue.close()
    })

    test('a failure carries the errno, the operation and the path', async () => {
      const queue = open()
      const missing = join(directory, 'none', 'x')
      await assert.rejects(queue.open(missing, constants.O_RDONLY, 0), {
        code: 'ENOENT',
        operation: 'open',
        path: missing,
        message: `open ${missing}: ENOENT`,
      })
      const path = join(directory, `${method}-failures`)
      await queue.open(path, CREATE, 0o600)
      const readOnly = await queue.open(path, constants.O_RDONLY, 0)
      for (const [operation, attempt] of [
        ['write', () => queue.write(readOnly, new Uint8Array(1), 0, true, path)],
        ['read', () => queue.read(-1, new Uint8Array(1), 0, path)],
        ['sync', () => queue.sync(1_000_000, path)],
      ] as const) {
        await assert.rejects(attempt, { code: 'EBADF', operation, path })
      }
      await assert.rejects(queue.truncate(readOnly, -1, path), { code: 'EINVAL', operation: 'truncate' })
      await queue.close()
      await assert.rejects(queue.open(path, constants.O_RDONLY, 0), { code: 'EBADF' })
    })

    test('a full device is ENOSPC', { skip: !existsSync('/dev/full') && 'there is no /dev/full' }, async () => {
      const queue = open()
      const fd = await queue.open('/dev/full', constants.O_WRONLY, 0)
      await assert.rejects(queue.write(fd, new Uint8Array(512), 0, false, '/dev/full'), {
        code: 'ENOSPC',
        operation: 'write',
        path: '/dev/full',
      })
      await queue.close()
    })

    test('a file is closed after what is in flight on it', async () => {
      const queue = open()
      const path = join(directory, `${method}-close`)
      const order: string[] = []
      const fd = await queue.open(path, CREATE, 0o600)
      const write = queue.write(fd, new Uint8Array(1 << 20), 0, true, path).then(() => order.push('written'))
      await Promise.all([queue.closeFile(fd, path).then(() => order.push('closed')), write])
      assert.deepEqual(order, ['written', 'closed'])
      await queue.close()
    })

    test('closing the queue waits for what is in flight', async () => {
      const queue = open()
      const path = join(directory, `${method}-close-queue`)
      const fd = await queue.open(path, CREATE, 0o600)
      let written = 0
      for (let i = 0; i < 50; i++) {
        void queue.write(fd, new Uint8Array(65_536), i * 65_536, true, path).then((bytes) => {
          written += bytes
        })
      }
      await queue.close()
      assert.equal(written, 50 * 65_536)
    })

    test('memory in flight is not collected', async () => {
      const queue = open()
      const path = join(directory, `${method}-collect`)
      const fd = await queue.open(path, CREATE, 0o600)
      const writes: Promise<number>[] = []
      for (let i = 0; i < 200; i++) {
        writes.push(queue.write(fd, new Uint8Array(65_536).fill(i), i * 65_536, false, path))
        // Garbage that asks for the collector, and for the pages that a freed buffer would leave.
        new Uint8Array(65_536).fill(255)
      }
      await Promise.all(writes)
      const content = readFileSync(path)
      for (let i = 0; i < 200; i++) {
        const block = content.subarray(i * 65_536, (i + 1) * 65_536)
        assert.ok(block.every((byte) => byte === (i & 0xff)))
      }
      await queue.close()
    })

    test('a thread can be terminated with work in flight, again and again', async () => {
      for (let i = 0; i < 8; i++) {
        const workerData: DiskPlan = { method, path: join(directory, `${method}-terminate`), role: 'busy' }
        const worker = new Worker(new URL('./disk-worker.ts', import.meta.url), { workerData })
        await once(worker, 'message')
        assert.equal(await worker.terminate(), 1)
      }
    })

    test('open files, doorbells and watches keep no thread alive', async () => {
      const workerData: DiskPlan = { method, path: join(directory, `${method}-idle`), role: 'idle' }
      const worker = new Worker(new URL('./disk-worker.ts', import.meta.url), { workerData })
      assert.deepEqual(await once(worker, 'exit'), [0])
    })
  })
}

test('memory for direct transfers is aligned', { skip: native === undefined && 'the addon is not built' }, () => {
  for (const bytes of [ALIGNMENT_BYTES, 1 << 20, 1 << 28]) {
    const memory = native!.alignedMemory(bytes)
    assert.equal(memory.byteLength, bytes)
    assert.ok(native!.isAligned(new Uint8Array(memory)))
    assert.ok(!native!.isAligned(new Uint8Array(memory, 16)))
  }
})
