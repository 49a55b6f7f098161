package zpool

import (
	"strings"
	"time"
)

// Command is one that has changed a pool.
type Command struct {
	// Time is by the clock of the system that ran it, to the second.
	Time time.Time
	Text string
	// Host is the system; empty where that was not kept.
	Host string
}

// historyTime is how print_history_records prints a time.
const historyTime = "2006-01-02.15:04:05"

// parseHistory reads zpool history -l. Lines that are no commands are left out.
func parseHistory(text []byte) []Command {
	var out []Command
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if len(line) < len(historyTime)+2 || line[len(historyTime)] != ' ' {
			continue
		}
		at, err := time.Parse(historyTime, line[:len(historyTime)])
		if err != nil {
			continue
		}
		c := Command{Time: at, Text: line[len(historyTime)+1:]}
		if i := strings.LastIndex(c.Text, " [user "); i >= 0 && strings.HasSuffix(c.Text, "]") {
			if _, host, found := strings.Cut(c.Text[i:len(c.Text)-1], "on "); found {
				c.Host, _, _ = strings.Cut(host, ":")
			}
			c.Text = c.Text[:i]
		}
		out = append(out, c)
	}
	return out
}
