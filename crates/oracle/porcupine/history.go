package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// operation is one line of a history, as the Rust crate writes it.
type operation struct {
	Client   uint32  `json:"client"`
	Key      string  `json:"key"`
	CallUs   int64   `json:"call_us"`
	ReturnUs *int64  `json:"return_us"`
	Input    variant `json:"input"`
	Output   variant `json:"output"`
}

// variant is an enum of Rust: "name", {"name": fields} or {"name": number}.
type variant struct {
	name   string
	fields fields
	number uint64
}

// fields are those of all variants together.
type fields struct {
	Value string  `json:"value"`
	TTL   ttl     `json:"ttl"`
	Token uint64  `json:"token"`
	Cas   *uint64 `json:"cas"`
	By    uint64  `json:"by"`
}

// ttl is "never", "past" or {"millis": n}.
type ttl struct {
	never, past bool
	millis      int64
}

func (t *ttl) UnmarshalJSON(text []byte) error {
	var millis struct {
		Millis *int64 `json:"millis"`
	}
	switch string(text) {
	case `"never"`:
		t.never = true
	case `"past"`:
		t.past = true
	default:
		if err := json.Unmarshal(text, &millis); err != nil {
			return err
		}
		if millis.Millis == nil {
			return fmt.Errorf("no ttl: %s", text)
		}
		t.millis = *millis.Millis
	}
	return nil
}

func (v *variant) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &v.name)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(text, &body); err != nil {
		return err
	}
	if len(body) != 1 {
		return fmt.Errorf("%d variants in %s", len(body), text)
	}
	for name, inner := range body {
		v.name = name
		if len(inner) > 0 && inner[0] == '{' {
			return json.Unmarshal(inner, &v.fields)
		}
		return json.Unmarshal(inner, &v.number)
	}
	return nil
}

// readHistory reads one operation per line.
func readHistory(path string) ([]operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	var history []operation
	for number := 1; lines.Scan(); number++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, number, err)
		}
		history = append(history, op)
	}
	return history, lines.Err()
}
