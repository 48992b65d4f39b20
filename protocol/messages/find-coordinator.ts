// FindCoordinator (key 10): which broker coordinates a group or a transactional id.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int8, int16, int32, message, nullable, since, string, type Value } from '../schema.ts'

/** One key in line up to version 3, several in `coordinatorKeys` from version 4. */
export const FindCoordinatorRequest = message(
  'FindCoordinatorRequest',
  { apiKey: 10, versions: '0-6', flexible: '3+' },
  {
    key: since('0-3', string),
    keyType: since('1+', int8),
    coordinatorKeys: since('4+', array(string)),
  },
)
export type FindCoordinatorRequest = Value<typeof FindCoordinatorRequest.fields>

/** The answer in line up to version 3, by key in `coordinators` from version 4. */
export const FindCoordinatorResponse = message(
  'FindCoordinatorResponse',
  { apiKey: 10, versions: '0-6', flexible: '3+' },
  {
    throttleTimeMs: since('1+', int32),
    errorCode: since('0-3', int16),
    errorMessage: since('1-3', nullable(string)),
    nodeId: since('0-3', int32),
    host: since('0-3', string),
    port: since('0-3', int32),
    coordinators: since(
      '4+',
      array({
        key: string,
        nodeId: int32,
        host: string,
        port: int32,
        errorCode: int16,
        errorMessage: nullable(string),
      }),
    ),
  },
)
export type FindCoordinatorResponse = Value<typeof FindCoordinatorResponse.fields>
