// What a careful hand writes with fastify and json-rules-engine for the reference rule: duplicates dropped, carts
// counted over ten minutes (two buckets, the older one by its share), all in memory, and 32 kept connections that
// deliver while requests go on. Environment: PORT, SINK_PORT.
'use strict'
const { Engine } = require('json-rules-engine')
const { Pool } = require('undici')
const app = require('fastify')({ logger: false, bodyLimit: 10 << 20 })

const WINDOW = 600
const MARK_LIFE = 86400
const SENDERS = 32
const MOST_WAITING = 100000
const counts = { accepted: 0, duplicates: 0, delivered: 0, failed: 0, lost: 0 }

const rules = new Engine()
rules.addRule({
  conditions: {
    all: [
      { fact: 'count', operator: 'greaterThanInclusive', value: 3 },
      { fact: 'payload', path: '$.total', operator: 'greaterThan', value: 40 }
    ]
  },
  event: { type: 'cart' }
})

// ---- delivery ----

const sink = new Pool(`http://127.0.0.1:${process.env.SINK_PORT}`, { connections: SENDERS, pipelining: 1 })
let queue = []
let first = 0
let underWay = 0

function send () {
  while (underWay < SENDERS && first < queue.length) {
    const event = queue[first++]
    if (first === 65536) {
      queue = queue.slice(first)
      first = 0
    }
    underWay++
    const body = JSON.stringify({
      campaign: 'cart',
      to: event.user_id,
      message: `Hi, your cart total is ${event.payload.total} EUR`,
      event_id: event.event_id
    })
    sink.request({ path: '/', method: 'POST', headers: { 'content-type': 'application/json' }, body })
      .then((answer) => answer.body.dump())
      .then(() => { counts.delivered++ }, () => { counts.failed++ })
      .finally(() => { underWay--; send() })
  }
}

// ---- state ----

const marks = new Map() // event id -> when it may be forgotten
const carts = new Map() // user and bucket -> count

/** How many carts this event's user has, with it; 0 for a duplicate. */
function count (event, now) {
  if (marks.has(event.event_id)) return 0
  marks.set(event.event_id, now + MARK_LIFE)
  const bucket = Math.floor(now / WINDOW)
  const share = 1 - (now % WINDOW) / WINDOW
  const key = `${event.user_id}:${bucket}`
  const number = (carts.get(key) || 0) + 1
  carts.set(key, number)
  return number + Math.floor((carts.get(`${event.user_id}:${bucket - 1}`) || 0) * share)
}

// ---- requests ----

app.post('/v1/events', async (request, reply) => {
  const events = Array.isArray(request.body) ? request.body : [request.body]
  const now = Date.now() / 1000
  let accepted = 0
  for (const event of events) {
    const number = count(event, now)
    if (number === 0) continue
    accepted++
    const { events: found } = await rules.run({ count: number, payload: event.payload })
    if (found.length === 0) continue
    if (queue.length - first >= MOST_WAITING) {
      counts.lost++
    } else {
      queue.push(event)
      send()
    }
  }
  counts.accepted += accepted
  counts.duplicates += events.length - accepted
  reply.code(202)
  return { accepted, duplicates: events.length - accepted }
})

app.get('/status', async () => ({ ...counts, waiting: queue.length - first + underWay, ready: true }))

app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
