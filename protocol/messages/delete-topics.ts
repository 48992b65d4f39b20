// DeleteTopics (key 20): delete topics.
//
// Declarations only, made once at load: any thread. Layouts: README.md in the folder above.

import { array, int16, int32, message, nullable, since, string, uuid, type Value, withDefault } from '../schema.ts'

/** Names up to version 5, names or ids in `topics` from version 6. */
export const DeleteTopicsRequest = message(
  'DeleteTopicsRequest',
  { apiKey: 20, versions: '1-6', flexible: '4+' },
  {
    topics: since(
      '6+',
      array({
        name: withDefault(nullable(string), null),
        topicId: uuid,
      }),
    ),
    topicNames: since('1-5', array(string)),
    timeoutMs: int32,
  },
)
export type DeleteTopicsRequest = Value<typeof DeleteTopicsRequest.fields>

/** An error by topic. */
export const DeleteTopicsResponse = message(
  'DeleteTopicsResponse',
  { apiKey: 20, versions: '1-6', flexible: '4+' },
  {
    throttleTimeMs: withDefault(int32, 0),
    responses: array({
      name: nullable(string, '6+'),
      topicId: since('6+', uuid),
      errorCode: int16,
      errorMessage: since('5+', nullable(string), null),
    }),
  },
)
export type DeleteTopicsResponse = Value<typeof DeleteTopicsResponse.fields>
