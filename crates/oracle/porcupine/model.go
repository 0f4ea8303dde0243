package main

import (
	"hash/maphash"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The rules, per key. An item that was stored with a time to live by an operation [call, return]
// expires at some moment of [call + ttl - slack, return + ttl + slack]. An operation may find it
// if it was called before the end of that window, and miss it if it returns in or after it.

// never is later than every time in a history; openEnd is the return of an unknown outcome.
const (
	never   = int64(math.MaxInt64)
	openEnd = never - 1
)

// item is the state of one key. It is comparable: equal items have equal futures.
type item struct {
	present bool
	value   string
	// token is 0 while no reply has shown that of this version.
	token uint64
	// deadlineMin and deadlineMax bound the moment of expiry; both are never for none.
	deadlineMin, deadlineMax int64
	// spent has a bit for each token (by its number in request.tokens) that the key ever had.
	spent string
}

// request is the input of a step.
type request struct {
	input   variant
	call    int64
	ret     int64
	unknown bool
	// tokens numbers the tokens of this key.
	tokens map[uint64]int
}

var hashSeed = maphash.MakeSeed()

// keyModel returns the model of one key.
func keyModel(slackUs int64) *porcupine.NondeterministicModel {
	return &porcupine.NondeterministicModel{
		Init: func() []interface{} { return []interface{}{item{}} },
		Step: func(state, input, output interface{}) []interface{} {
			before := state.(item)
			req := input.(*request)
			var after []item
			if req.unknown {
				after = append(effects(before, req, slackUs), before)
			} else {
				after = replies(before, req, output.(*variant), slackUs)
			}
			states := make([]interface{}, 0, len(after))
			for _, one := range after {
				states = append(states, one)
			}
			return states
		},
		Hash: func(state interface{}) uint64 {
			it := state.(item)
			var h maphash.Hash
			h.SetSeed(hashSeed)
			h.WriteString(it.value)
			h.WriteString(it.spent)
			h.WriteString(strconv.FormatUint(it.token, 16))
			h.WriteString(strconv.FormatInt(it.deadlineMax, 16))
			return h.Sum64()
		},
	}
}

// canBeThere says whether the operation may find the item.
func (it item) canBeThere(req *request) bool {
	return it.present && (it.deadlineMax == never || req.call < it.deadlineMax)
}

// canBeGone says whether the operation may find nothing.
func (it item) canBeGone(req *request) bool {
	return !it.present || (it.deadlineMin != never && req.ret >= it.deadlineMin)
}

// absent is the key without an item.
func (it item) absent() item {
	return item{spent: it.spent}
}

// version is the item with a new value, whose token nobody has seen.
func (it item) version(value string) item {
	it.present, it.value, it.token = true, value, 0
	return it
}

// expiring is the item after the request set its time to live.
func (it item) expiring(ttl ttl, req *request, slackUs int64) item {
	if ttl.past {
		return it.absent()
	}
	it.deadlineMin, it.deadlineMax = never, never
	if !ttl.never {
		ttlUs := ttl.millis * 1000
		it.deadlineMin = max(req.call+ttlUs-slackUs, 0)
		it.deadlineMax = openEnd
		if req.ret < openEnd-ttlUs-slackUs {
			it.deadlineMax = req.ret + ttlUs + slackUs
		}
	}
	return it
}

func (it item) isSpent(token uint64, req *request) bool {
	index, found := req.tokens[token]
	return found && len(it.spent) > index/8 && it.spent[index/8]&(1<<(index%8)) != 0
}

// owning is the item once it is known that its token is this one, if it can be.
func (it item) owning(token uint64, req *request) (item, bool) {
	if it.token != 0 {
		return it, it.token == token
	}
	if it.isSpent(token, req) {
		return it, false
	}
	index := req.tokens[token]
	spent := make([]byte, max(len(it.spent), index/8+1))
	copy(spent, it.spent)
	spent[index/8] |= 1 << (index % 8)
	it.token, it.spent = token, string(spent)
	return it, true
}

// count is the item after an incr or decr, and the number; false if it is none.
func (it item) count(input variant) (item, uint64, bool) {
	number, ok := parseNumber(it.value)
	if !ok {
		return it, 0, false
	}
	if input.name == "incr" {
		number += input.fields.By
	} else if number < input.fields.By {
		number = 0
	} else {
		number -= input.fields.By
	}
	text := strconv.FormatUint(number, 10)
	if pad := len(it.value) - len(text); pad > 0 {
		text += strings.Repeat(" ", pad)
	}
	return it.version(text), number, true
}

// isBlank is isspace of C.
func isBlank(c rune) bool {
	return c == ' ' || (c >= '\t' && c <= '\r')
}

// parseNumber reads as strtoull of C does, then asks for a blank or the end.
func parseNumber(text string) (uint64, bool) {
	text = strings.TrimLeftFunc(text, isBlank)
	if end := strings.IndexFunc(text, isBlank); end >= 0 {
		text = text[:end]
	}
	text = strings.TrimPrefix(text, "+")
	if strings.ContainsFunc(text, func(c rune) bool { return c < '0' || '9' < c }) {
		return 0, false
	}
	number, err := strconv.ParseUint(text, 10, 64)
	return number, err == nil
}

// byKey parts a history and brings it into the form that porcupine takes.
func byKey(history []operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	tokens := map[string]map[uint64]int{}
	var keys []string
	for i := range history {
		op := &history[i]
		unknown := op.ReturnUs == nil || op.Output.name == "unknown"
		if _, found := tokens[op.Key]; !found {
			tokens[op.Key] = map[uint64]int{}
			keys = append(keys, op.Key)
		}
		known := tokens[op.Key]
		if op.Input.name == "cas" {
			number(known, op.Input.fields.Token)
		}
		if op.Output.fields.Cas != nil {
			number(known, *op.Output.fields.Cas)
		}
		if unknown && (op.Input.name == "get" || op.Input.name == "gets") {
			continue
		}
		ret := openEnd
		if !unknown {
			ret = *op.ReturnUs
		}
		req := &request{input: op.Input, call: op.CallUs, ret: ret, unknown: unknown, tokens: known}
		parts[op.Key] = append(parts[op.Key], porcupine.Operation{
			ClientId: int(op.Client),
			Input:    req,
			Call:     op.CallUs,
			Output:   &op.Output,
			Return:   ret,
		})
	}
	sort.Strings(keys)
	var all [][]porcupine.Operation
	for _, key := range keys {
		all = append(all, parts[key])
	}
	return all
}

func number(tokens map[uint64]int, token uint64) {
	if _, found := tokens[token]; !found {
		tokens[token] = len(tokens)
	}
}
