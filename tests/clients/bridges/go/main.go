// The bridge of gomemcache: text.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// client is one gomemcache client and the items that its gets returned, for cas.
type client struct {
	*memcache.Client
	items map[string]*memcache.Item
}

func main() {
	clients := map[string]*client{}
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		handle, verb, args := words[0], words[1], words[2:]
		reply := "ok"
		if verb == "open" {
			made := memcache.New(strings.Split(args[0], ",")...)
			made.Timeout = 5 * time.Second
			clients[handle] = &client{made, map[string]*memcache.Item{}}
		} else {
			reply = render(clients[handle].call(verb, args))
		}
		fmt.Fprintln(out, strings.ReplaceAll(reply, "\n", " "))
		out.Flush()
	}
}

// call returns what follows "ok", or the error.
func (c *client) call(verb string, args []string) (string, error) {
	key := args[0]
	switch verb {
	case "set":
		return "ok", c.Set(item(args))
	case "add":
		return "ok", c.Add(item(args))
	case "replace":
		return "ok", c.Replace(item(args))
	case "append":
		return "ok", c.Append(&memcache.Item{Key: key, Value: []byte(args[1])})
	case "get":
		got, err := c.Get(key)
		if err != nil {
			return "", err
		}
		return "value " + string(got.Value), nil
	case "gets":
		got, err := c.Get(key)
		if err != nil {
			return "", err
		}
		c.items[key] = got
		return "value " + string(got.Value), nil
	case "cas":
		// A copy, so that the same token can be used a second time.
		changed := *c.items[key]
		changed.Value = []byte(args[2])
		changed.Expiration = number(args[1])
		return "ok", c.CompareAndSwap(&changed)
	case "mget":
		got, err := c.GetMulti(args)
		reply := "values"
		for key, item := range got {
			reply += " " + key + "=" + string(item.Value)
		}
		return reply, err
	case "incr":
		value, err := c.Increment(key, uint64(number(args[1])))
		return "value " + strconv.FormatUint(value, 10), err
	case "touch":
		return "ok", c.Touch(key, number(args[1]))
	case "delete":
		return "ok", c.Delete(key)
	}
	return "", errors.New("unknown verb " + verb)
}

func render(reply string, err error) string {
	switch err {
	case nil:
		return reply
	case memcache.ErrCacheMiss, memcache.ErrNotStored, memcache.ErrCASConflict:
		return "no"
	default:
		return "error " + err.Error()
	}
}

func item(args []string) *memcache.Item {
	return &memcache.Item{Key: args[0], Expiration: number(args[1]), Value: []byte(args[2])}
}

func number(text string) int32 {
	value, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		panic(err)
	}
	return int32(value)
}
