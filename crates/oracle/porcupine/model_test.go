package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestKeyRules judges short histories: each line is a call, a return (0 for unknown), a request
// and a reply.
func TestKeyRules(t *testing.T) {
	set := `{"set":{"value":"a","ttl":{"millis":10}}}`
	cases := []struct {
		name, want string
		lines      []string
	}{
		{"alive within the window", "ok", []string{
			`0 100 ` + set + ` "stored"`, `11099 11200 "get" {"value":{"value":"a","cas":null}}`}},
		{"alive after the window", "violation", []string{
			`0 100 ` + set + ` "stored"`, `11100 11200 "get" {"value":{"value":"a","cas":null}}`}},
		{"gone within the window", "ok", []string{
			`0 100 ` + set + ` "stored"`, `8900 9000 "get" "miss"`}},
		{"gone before the window", "violation", []string{
			`0 100 ` + set + ` "stored"`, `8900 8999 "get" "miss"`}},
		{"unknown applied late", "ok", []string{
			`0 0 ` + set + ` "unknown"`, `5 6 "get" "miss"`,
			`90000 90001 "get" {"value":{"value":"a","cas":null}}`}},
		{"padded", "ok", []string{
			`0 1 {"set":{"value":"10","ttl":"never"}} "stored"`, `2 3 {"decr":{"by":1}} {"number":9}`,
			`4 5 "get" {"value":{"value":"9 ","cas":null}}`}},
		{"token of two versions", "violation", []string{
			`0 1 {"set":{"value":"a","ttl":"never"}} "stored"`,
			`2 3 "gets" {"value":{"value":"a","cas":5}}`,
			`4 5 {"set":{"value":"b","ttl":"never"}} "stored"`,
			`6 7 "gets" {"value":{"value":"b","cas":5}}`}},
	}
	for _, c := range cases {
		var history []operation
		for _, line := range c.lines {
			part := strings.SplitN(line, " ", 4)
			text := `{"client":1,"key":"k","call_us":` + part[0] + `,"return_us":` + part[1] +
				`,"input":` + part[2] + `,"output":` + part[3] + `}`
			var op operation
			if err := json.Unmarshal([]byte(text), &op); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			history = append(history, op)
		}
		if got := judge(history, 1000, time.Second); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
