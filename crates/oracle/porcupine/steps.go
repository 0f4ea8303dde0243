package main

// effects are the states in which an operation with an unknown outcome took effect. That it did
// not is for the caller to add.
func effects(it item, req *request, slackUs int64) []item {
	in := req.input
	there, gone := it.canBeThere(req), it.canBeGone(req)
	removes := in.name == "delete"
	if in.fields.TTL.past {
		removes = in.name != "add" && in.name != "cas"
	}
	if removes {
		// If it came after the expiry the item is gone as well.
		return []item{it.absent()}
	}
	switch in.name {
	case "set":
		return []item{it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs)}
	case "add":
		if gone {
			return []item{it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs)}
		}
	case "replace":
		if there {
			return []item{it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs)}
		}
	case "cas":
		if !there {
			return nil
		}
		if _, owns := it.owning(in.fields.Token, req); owns {
			// A token that only this request names is not marked as spent: no reply showed it.
			return []item{it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs)}
		}
	case "append":
		if there {
			return []item{it.version(it.value + in.fields.Value)}
		}
	case "prepend":
		if there {
			return []item{it.version(in.fields.Value + it.value)}
		}
	case "touch", "gat":
		if there {
			return []item{it.expiring(in.fields.TTL, req, slackUs)}
		}
	case "incr", "decr":
		if counted, _, ok := it.count(in); there && ok {
			return []item{counted}
		}
	default:
		panic("unknown request " + in.name)
	}
	return nil
}

// replies are the states after an operation that was answered; none if the answer is impossible.
func replies(it item, req *request, out *variant, slackUs int64) []item {
	in := req.input
	there, gone := it.canBeThere(req), it.canBeGone(req)
	one := func(possible bool, after item) []item {
		if possible {
			return []item{after}
		}
		return nil
	}
	switch in.name + " " + out.name {
	case "get value", "gets value", "gat value":
		owns := true
		if out.fields.Cas != nil {
			it, owns = it.owning(*out.fields.Cas, req)
		}
		possible := there && owns && it.value == out.fields.Value
		if possible && in.name == "gat" {
			return one(true, it.expiring(in.fields.TTL, req, slackUs))
		}
		return one(possible, it)
	case "get miss", "gets miss", "gat miss", "replace not_stored", "append not_stored",
		"prepend not_stored", "cas not_found", "delete not_found", "touch not_found",
		"incr not_found", "decr not_found":
		return one(gone, it.absent())
	case "set stored":
		return one(true, it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs))
	case "add stored":
		return one(gone, it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs))
	case "replace stored":
		return one(there, it.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs))
	case "cas stored":
		owned, owns := it.owning(in.fields.Token, req)
		after := owned.version(in.fields.Value).expiring(in.fields.TTL, req, slackUs)
		return one(there && owns, after)
	case "cas exists":
		return one(there && it.token != in.fields.Token, it)
	case "add not_stored":
		return one(there, it)
	case "append stored":
		return one(there, it.version(it.value+in.fields.Value))
	case "prepend stored":
		return one(there, it.version(in.fields.Value+it.value))
	case "delete deleted":
		return one(there, it.absent())
	case "touch touched":
		return one(there, it.expiring(in.fields.TTL, req, slackUs))
	case "incr number", "decr number":
		counted, number, ok := it.count(in)
		return one(there && ok && number == out.number, counted)
	case "incr not_a_number", "decr not_a_number":
		_, _, ok := it.count(in)
		return one(there && !ok, it)
	}
	// A reply that does not fit the request.
	return nil
}
