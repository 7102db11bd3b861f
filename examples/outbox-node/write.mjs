// A service in Node writes events in its own transaction: node write.mjs postgres://user@host:port/database
import pg from 'pg'

const client = new pg.Client({ connectionString: process.argv[2] })
await client.connect()

async function inTransaction(work) {
  await client.query('begin')
  try {
    await work()
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  }
}

await client.query('create table if not exists node_order (id text primary key, total int not null)')

// A plain INSERT with the six columns. The database numbers the event and sets publishedAt itself. No RETURNING: a writer
// may not read the outbox.
await inTransaction(async () => {
  await client.query('insert into node_order (id, total) values ($1, $2)', ['n-1', 1200])
  await client.query(
    `insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at)
     values ($1, $2, $3, $4, $5, $6)`,
    ['n-1', 'node_order', 'node_order.created.v1', { total: 1200 }, new Date(), null],
  )
})

// The function, for one event or for many.
await inTransaction(async () => {
  await client.query('update node_order set total = $2 where id = $1', ['n-1', 1300])
  await client.query('select outbox_append($1, $2, $3, $4)', [
    'node_order', 'n-1', 'node_order.changed.v1', { total: 1300 },
  ])
  const events = [1400, 1500].map((total) => ({
    aggregate_type: 'node_order', aggregate_id: 'n-1', event_type: 'node_order.changed.v1', payload: { total },
  }))
  await client.query('select outbox_append_many($1)', [JSON.stringify(events)])
})

// An error leaves neither the change nor the event.
try {
  await inTransaction(async () => {
    await client.query('update node_order set total = 0 where id = $1', ['n-1'])
    await client.query('select outbox_append($1, $2, $3, $4)', ['node_order', 'n-1', 'not a topic', {}])
  })
  throw new Error('an illegal event was taken')
} catch (error) {
  if (error.code !== 'SF003') throw error
}

await client.end()
