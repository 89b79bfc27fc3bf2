// A JSON-RPC client of the library `rpc-websockets`, as its users write it.
//
// usage: rpc.mjs SCENARIO URL [ARGUMENT...]      exits with 0 if all was as it should be

import assert from "node:assert/strict"
import { createInterface } from "node:readline"
import { createRequire } from "node:module"

// Modules are where they were installed, not here.
const { Client } = createRequire(process.env.NODE_PATH + "/")("rpc-websockets")

const CALLS = 500
const numbers = [...Array(CALLS).keys()]
const all = (calls) => Promise.all(calls)

// Many at once, each answered by its own answer, by whichever of the workers called so.
async function calls(client, ...names) {
  const sums = await all(numbers.map((number) => client.call("sum", [number, 1000, 0.5])))
  assert.deepEqual(sums, numbers.map((number) => number + 1000.5))
  const workers = new Set(await all(numbers.map(() => client.call("where"))))
  assert.deepEqual([...workers].sort(), names.sort())
  await assert.rejects(client.call("fail"), (error) => error.code === -32000 && error.message === "as you wish")
  // One that has no id, and is not answered.
  await client.notify("sum", [1, 2])
  assert.equal(await client.call("sum", [3, 4]), 7)
}

// What is quick need not wait for what is slow, once there is a connection to more than one worker.
async function overtaken(client) {
  await all(numbers.map((number) => client.call("sum", [number])))
  let isDone = false
  const slow = client.call("slow", [3]).then((result) => ((isDone = true), result))
  for (const number of numbers.slice(0, 20)) assert.equal(await client.call("sum", [number]), number)
  assert.equal(isDone, false)
  assert.equal(await slow, 3)
}

// Calls until it is told to stop; nothing is lost.
async function steady(client) {
  let isToStop = false
  createInterface({ input: process.stdin }).once("line", () => (isToStop = true))
  for (let number = 0; !isToStop; ) {
    const batch = [...Array(20).keys()].map((each) => number + each)
    assert.deepEqual(
      await all(batch.map((each) => client.call("sum", [each, 1]))),
      batch.map((each) => each + 1),
    )
    number += 20
    console.log(number)
  }
}

const [scenario, url, ...names] = process.argv.slice(2)
const client = new Client(url, { reconnect: false })
await new Promise((resolve, reject) => client.once("open", resolve).once("error", reject))
await { calls, overtaken, steady }[scenario](client, ...names)
client.close()
process.exit(0)
