package command

import (
	"bytes"
	"errors"
)

const half = 2 // of a stream is what cut streams have

// pair makes $/s with @1 and @2, with data before each, and $/r with @1 received from it.
func pair(l *lab) {
	l.t.Helper()
	l.all("create -u $/s")
	l.write("$/s", "one", 2<<20)
	l.all("snapshot $/s@1")
	l.write("$/s", "two", 2<<20)
	l.all("snapshot $/s@2")
	l.mustReceive(l.stream("$/s@1"), "$/r")
}

// cut receives the first half of a stream, and keeps it.
func cut(l *lab, data []byte, to string) {
	l.t.Helper()
	if err := l.receive(data[:len(data)/half], "-s", to); err == nil {
		l.t.Fatal("half a stream was received")
	}
}

// partialFull makes $/s with @1, and in $/p the first half of its full stream.
func partialFull(l *lab) {
	l.t.Helper()
	l.all("create -u $/s")
	l.write("$/s", "one", 2<<20)
	l.all("snapshot $/s@1")
	cut(l, l.stream("$/s@1"), "$/p")
}

// partialNext makes a pair, and in $/r the first half of the stream from @1 to @2.
func partialNext(l *lab) {
	l.t.Helper()
	pair(l)
	cut(l, l.stream("-i", "$/s@1", "$/s@2"), "$/r")
}

// another makes two partial receives, and has the second go on with the rest of the first.
func another(send []string, receive ...string) provocation {
	return func(l *lab) error {
		for _, n := range []string{"1", "2"} {
			l.all("create -u $/s" + n)
			l.write("$/s"+n, "file"+n, 2<<20)
			l.all("snapshot $/s" + n + "@1")
			cut(l, l.stream(append(send, "$/s"+n+"@1")...), "$/p"+n)
		}
		return l.receive(l.stream("-t", l.token("$/p1")), append(receive, "$/p2")...)
	}
}

// streamCases are the provocations of streamPatterns.
func streamCases() map[string]provocation {
	return map[string]provocation{
		"resume token is corrupt": does("send -n -P -t 1-2-3-4"),
		"' used in the initial send no longer exists": func(l *lab) error {
			partialFull(l)
			token := l.token("$/p")
			l.all("destroy $/s@1")
			return l.zfs("send", "-n", "-P", "-t", token)
		},
		"' is no longer the same snapshot used in the initial send": func(l *lab) error {
			partialFull(l)
			token := l.token("$/p")
			l.all("destroy $/s@1", "snapshot $/s@1")
			return l.zfs("send", "-n", "-P", "-t", token)
		},
		"cannot resume send: incremental source 0x": func(l *lab) error {
			partialNext(l)
			token := l.token("$/r")
			l.all("destroy $/s@1")
			// On the receiver the base is there still, under another name, and would be found.
			l.all("receive -A $/r", "destroy -r $/r")
			return l.zfs("send", "-n", "-P", "-t", token)
		},
		"cannot receive resume stream: Resuming recv on existing destination '": func(l *lab) error {
			partialFull(l)
			l.all("create -u $/x")
			return l.receive(l.stream("-t", l.token("$/p")), "-s", "$/x")
		},
		"cannot receive resume stream: destination '": func(l *lab) error {
			partialFull(l)
			return l.receive(l.stream("-t", l.token("$/p")), "-s", "$/none")
		},
		`contains partially-complete state from "zfs receive -s"`: func(l *lab) error {
			partialNext(l)
			return l.receive(l.stream("-i", "$/s@1", "$/s@2"), "$/r")
		},
		"' does not have any resumable receive state to abort": does("receive -A $"),
		"does not match incremental source": func(l *lab) error {
			pair(l)
			l.all("snapshot $/s@3")
			return l.receive(l.stream("-i", "$/s@2", "$/s@3"), "$/r")
		},
		"cannot receive: local origin for clone": func(l *lab) error {
			l.all("snapshot $@1", "clone $@1 $/c", "snapshot $/c@1")
			return l.receive(l.stream("-i", "$@1", "$/c@1"), secondPool+"/c")
		},
		"has been modified since most recent snapshot": func(l *lab) error {
			pair(l)
			l.write("$/r", "other", 1<<20)
			return l.receive(l.stream("-i", "$/s@1", "$/s@2"), "$/r")
		},
		"' exists must specify -F to overwrite it": func(l *lab) error {
			pair(l)
			return l.receive(l.stream("$/s@1"), "$/r")
		},
		": destination already exists": func(l *lab) error {
			pair(l)
			l.all("snapshot $/r@2")
			return l.receive(l.stream("-i", "$/s@1", "$/s@2"), "$/r")
		},
		"cannot receive incremental stream: destination '": func(l *lab) error {
			pair(l)
			return l.receive(l.stream("-i", "$/s@1", "$/s@2"), "$/none")
		},
		"space quota exceeded.": func(l *lab) error {
			l.all("create -u $/s", "create -u -o quota=3M $/q")
			l.write("$/s", "one", 12<<20)
			l.all("snapshot $/s@1")
			return l.receive(l.stream("$/s@1"), "$/q/r")
		},
		"checksum mismatch": func(l *lab) error {
			pair(l)
			data := bytes.Clone(l.stream("$/s@2"))
			data[len(data)/half] ^= 0xff
			return l.receive(data, "$/x")
		},
		"incomplete stream": func(l *lab) error {
			pair(l)
			data := l.stream("$/s@2")
			return l.receive(data[:len(data)/half], "$/x")
		},
		"cannot receive: failed to read from stream":                          func(l *lab) error { return l.receive(nil, "$/x") },
		"cannot receive: invalid stream (bad magic number)":                   func(l *lab) error { return l.receive(make([]byte, 4096), "$/x") },
		": incompatible embedded data stream feature with encrypted receive.": another([]string{"-L", "-e", "-c"}, "-s"),
		": kernel modules must be upgraded to receive this stream.":           another(nil, "-s"),
		": invalid backup stream":                                             another(nil),
		": incremental send stream requires -L (--large-block)": func(l *lab) error {
			l.all("create -u -o recordsize=1M $/s")
			l.write("$/s", "one", 4<<20)
			l.all("snapshot $/s@1")
			l.mustReceive(l.stream("-L", "$/s@1"), "$/r")
			l.write("$/s", "two", 4<<20)
			l.all("snapshot $/s@2")
			return l.receive(l.stream("-i", "$/s@1", "$/s@2"), "$/r")
		},
		": not an earlier snapshot from the same fs": func(l *lab) error {
			l.all("snapshot $@1", "snapshot $@2")
			return l.send("-i", "$@2", "$@1")
		},
		"': incremental source (": func(l *lab) error {
			l.all("snapshot $@1")
			return l.send("-i", "$#none", "$@1")
		},
		": No such process": does("send -n -P -i $#none $@1", "snapshot $@1"),
	}
}

// send reads a stream that does not come.
func (l *lab) send(args ...string) error {
	stream, err := l.run.output(l.ctx, append([]string{"send"}, l.args(args)...))
	if err != nil {
		return err
	}
	return errors.Join(errors.New("a stream came"), stream.Close())
}
