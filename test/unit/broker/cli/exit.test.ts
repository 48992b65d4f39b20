// Which failure ends with which exit code, and in one line.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NoSuchItem } from '../../../../broker/cli/client/cluster.ts'
import { ConnectionLost, mayPass, Refused, Unreachable, Unsupported } from '../../../../broker/cli/client/errors.ts'
import { CommandFailed, outcomeOf, UsageError } from '../../../../broker/cli/exit.ts'
import { resetTarget } from '../../../../broker/cli/group-reset.ts'
import { OperatorError } from '../../../../broker/operator-error.ts'
import { ErrorCode } from '../../../../protocol/errors.ts'

test('what the cluster refuses, lacks or does not answer ends with 1', () => {
  const failures = [
    new Refused('cannot do it', ErrorCode.INVALID_CONFIG, 'because'),
    new NoSuchItem('topic x does not exist'),
    new Unreachable('no broker answers'),
    new ConnectionLost('it closed'),
    new Unsupported('too old'),
    new CommandFailed('2 batches are damaged'),
    new OperatorError('PORT_IN_USE', 'cannot listen', 'Choose another.'),
  ]
  for (const failure of failures) assert.equal(outcomeOf(failure).exitCode, 1, failure.name)
})

test('what makes no sense as typed ends with 2, files that cannot be read included', () => {
  assert.equal(outcomeOf(new UsageError('no')).exitCode, 2)
  assert.equal(outcomeOf(new OperatorError('FLAG_INVALID', '--port x', 'Give a number.')).exitCode, 2)
  const missing = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT', syscall: 'open', path: 'f' })
  assert.deepEqual(outcomeOf(missing), { line: 'cannot read f: there is no such file', exitCode: 2 })
})

test('every outcome is one line, without a stack but for our own mistakes', () => {
  assert.equal(
    outcomeOf(new Refused('cannot do it', ErrorCode.INVALID_CONFIG, 'first\n  second')).line,
    'cannot do it: first second [INVALID_CONFIG]',
  )
  assert.equal(
    outcomeOf(new Refused('cannot do it', ErrorCode.NOT_CONTROLLER)).line,
    'cannot do it: not controller [NOT_CONTROLLER]',
  )
  assert.equal(outcomeOf(new OperatorError('X', 'it failed', 'Do this.')).line, 'it failed. Do this. [X]')
  const ours = outcomeOf(new TypeError('x is undefined')).line
  assert.match(ours, /mistake of millrace/)
  assert.doesNotMatch(ours, /\n/)
})

test('only codes that Kafka calls retriable, and lost connections, are tried again', () => {
  assert.equal(mayPass(new Refused('x', ErrorCode.NOT_LEADER_OR_FOLLOWER)), true)
  assert.equal(mayPass(new ConnectionLost('x')), true)
  assert.equal(mayPass(new Refused('x', ErrorCode.TOPIC_ALREADY_EXISTS)), false)
  assert.equal(mayPass(new Unreachable('x')), false)
  assert.equal(mayPass(new UsageError('x')), false)
})

test('reset-offsets wants exactly one target', () => {
  assert.deepEqual(resetTarget({ 'to-earliest': true }, 0), { kind: 'start' })
  assert.deepEqual(resetTarget({ 'shift-by': '-3' }, 0), { kind: 'shift', by: -3 })
  assert.deepEqual(resetTarget({ 'by-duration': '1h' }, 7_200_000), { kind: 'time', timeMs: 3_600_000 })
  assert.throws(() => resetTarget({}, 0), UsageError)
  assert.throws(() => resetTarget({ 'to-earliest': true, 'to-offset': '3' }, 0), UsageError)
  assert.throws(() => resetTarget({ 'to-offset': '-3' }, 0), UsageError)
})
