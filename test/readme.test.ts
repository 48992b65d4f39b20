// The lists in README.md that follow from the code. `node test/readme.test.ts --write` brings them up to date.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { brokerConfigDefinitions, configsWithoutEffect } from '../broker/config/definitions.ts'
import { ApiKey, apiName, SERVED_APIS, servedApi } from '../protocol/api.ts'

const root = path.join(import.meta.dirname, '..')
const file = path.join(root, 'README.md')

function wrapped(words: readonly string[]): string {
  const lines: string[] = ['']
  for (const word of words) {
    const last = lines[lines.length - 1]!
    if (last.length + word.length + 1 > 132) lines.push(word)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines.join('\n')
}

function sentence(start: string, items: readonly string[]): string[] {
  return [...start.split(' '), ...items.map((item, at) => `${item}${at === items.length - 1 ? '.' : ','}`)]
}

const versions = (least: number, most: number) => (least === most ? `${least}` : `${least} to ${most}`)
const served = SERVED_APIS.map(
  ({ apiKey, minVersion, maxVersion }) => `${apiName(apiKey)} ${versions(minVersion, maxVersion)}`,
)
const notServed = Object.values(ApiKey)
  .filter((apiKey) => servedApi(apiKey) === undefined)
  .map((apiKey) => apiName(apiKey))

const blocks: Readonly<Record<string, string>> = {
  apis: `\n${wrapped(sentence('Served, in these versions:', served))}\n\n${wrapped(sentence('Declared and not served yet:', notServed))}\n`,
  configs: `\n${wrapped(configsWithoutEffect().map((name) => `\`${name}\``))}\n`,
}

function block(text: string, name: string): string {
  return new RegExp(`<!-- ${name} -->([\\s\\S]*?)<!-- /${name} -->`).exec(text)?.[1] ?? ''
}

const text = readFileSync(file, 'utf8')

if (process.argv.includes('--write')) {
  let changed = text
  for (const [name, content] of Object.entries(blocks)) {
    changed = changed.replace(`<!-- ${name} -->${block(changed, name)}<!-- /${name} -->`, () => {
      return `<!-- ${name} -->${content}<!-- /${name} -->`
    })
  }
  writeFileSync(file, changed)
} else {
  test('the README lists the APIs that are served, and those that are not', () => {
    assert.equal(block(text, 'apis'), blocks.apis)
  })

  test('the README lists the configs that have no effect yet, and counts all', () => {
    assert.equal(block(text, 'configs'), blocks.configs)
    const kafkas = [...brokerConfigDefinitions.keys()].filter((name) => !name.startsWith('millrace.'))
    assert.match(text, new RegExp(`\\b${kafkas.length} of Kafka's broker configs are known`))
  })

  test('what the READMEs link to is there', () => {
    const folders = [...text.matchAll(/\]\(([a-z/]+)\/README\.md\)/g)].map(([, folder]) => folder!)
    for (const folder of ['', ...folders]) {
      const page = readFileSync(path.join(root, folder, 'README.md'), 'utf8')
      for (const [, target] of page.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
        assert.ok(existsSync(path.join(root, folder, target!)), `${folder || '.'}/README.md links to ${target}`)
      }
    }
  })
}
