// Command porcupine-judge judges histories of a memcached-like store for linearizability.
//
// For each file of JSON lines it prints "FILE ok", "FILE violation" or "FILE undecided". It ends
// with 1 if there was a violation, with 2 if a file could not be read.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

func main() {
	slackUs := flag.Int64("slack-us", 1500000, "how far an expiry may be off, in microseconds")
	timeout := flag.Duration("timeout", time.Minute, "time for each history")
	flag.Parse()

	code := 0
	for _, path := range flag.Args() {
		history, err := readHistory(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		verdict := judge(history, *slackUs, *timeout)
		fmt.Println(path, verdict)
		if verdict == "violation" {
			code = 1
		}
	}
	os.Exit(code)
}

// judge judges key by key. A violation counts more than running out of time.
func judge(history []operation, slackUs int64, timeout time.Duration) string {
	verdict := "ok"
	model := keyModel(slackUs).ToModel()
	for _, operations := range byKey(history) {
		switch porcupine.CheckOperationsTimeout(model, operations, timeout) {
		case porcupine.Illegal:
			return "violation"
		case porcupine.Unknown:
			verdict = "undecided"
		case porcupine.Ok:
		}
	}
	return verdict
}
