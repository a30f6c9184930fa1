// What pgx does: cached prepared statements, batches, COPY, transactions, a pool, cancellation, errors; as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	found := map[string]any{}
	conn, err := pgx.Connect(ctx, os.Args[1])
	must(err)
	sum := 0
	for i := 0; i < 10; i++ {
		var n int
		must(conn.QueryRow(ctx, "select $1::int * 2", i).Scan(&n))
		sum += n
	}
	found["sum"] = sum

	batch := &pgx.Batch{}
	for i := 0; i < 5; i++ {
		batch.Queue("select $1::text || 'x'", fmt.Sprint(i))
	}
	results := conn.SendBatch(ctx, batch)
	texts := []string{}
	for i := 0; i < 5; i++ {
		var text string
		must(results.QueryRow().Scan(&text))
		texts = append(texts, text)
	}
	must(results.Close())
	found["batch"] = texts

	tx, err := conn.Begin(ctx)
	must(err)
	_, err = tx.Exec(ctx, "create temp table pgx_rows (n int) on commit drop")
	must(err)
	copied, err := tx.CopyFrom(ctx, pgx.Identifier{"pgx_rows"}, []string{"n"},
		pgx.CopyFromSlice(1000, func(i int) ([]any, error) { return []any{int32(i)}, nil }))
	must(err)
	found["copied"] = copied
	var total int
	must(tx.QueryRow(ctx, "select sum(n) from pgx_rows").Scan(&total))
	found["total"] = total
	must(tx.Commit(ctx))

	var refused *pgconn.PgError
	_, err = conn.Exec(ctx, "select 1/0")
	if errors.As(err, &refused) {
		found["error"] = refused.Code
	}
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	_, err = conn.Exec(short, "select pg_sleep(20)")
	stop()
	found["cancelled"] = err != nil && pgconn.Timeout(err)
	conn.Close(ctx)

	pool, err := pgxpool.New(ctx, os.Args[1])
	must(err)
	var group sync.WaitGroup
	var lock sync.Mutex
	answers := 0
	for worker := 0; worker < 8; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; i < 25; i++ {
				var n int
				must(pool.QueryRow(ctx, "select $1::int", worker*100+i).Scan(&n))
				if n == worker*100+i {
					lock.Lock()
					answers++
					lock.Unlock()
				}
			}
		}()
	}
	group.Wait()
	pool.Close()
	found["answers"] = answers
	must(json.NewEncoder(os.Stdout).Encode(found))
}
