package probe

import (
	"fmt"
	"strconv"
	"strings"
)

// Fields of proc_pid_stat(5) behind the name, which ends with the last ')'.
// Their numbers there are 3 (state), 4 (ppid), 22 (starttime) and 24 (rss).
const (
	statState, statParent, statStarted, statResident = 0, 1, 19, 21
)

// ParseStat reads /proc/PID/stat into p: all but arguments and cgroup.
// pageBytes is the machine's page size, in which the kernel counts memory.
func (p *Process) ParseStat(stat string, pageBytes uint64) error {
	head, _, _ := strings.Cut(stat, " ")
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return fmt.Errorf("read process %q: no name in parentheses", head)
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= statResident {
		return fmt.Errorf("read process %q: %d fields behind the name, expected %d at least", head, len(fields), statResident+1)
	}
	pid, err := strconv.Atoi(head)
	if err != nil {
		return fmt.Errorf("read process %q: %w", head, err)
	}
	parent, err := strconv.Atoi(fields[statParent])
	if err != nil {
		return fmt.Errorf("read process %d: parent: %w", pid, err)
	}
	started, err := strconv.ParseUint(fields[statStarted], 10, 64)
	if err != nil {
		return fmt.Errorf("read process %d: start: %w", pid, err)
	}
	pages, err := strconv.ParseUint(fields[statResident], 10, 52)
	if err != nil {
		return fmt.Errorf("read process %d: memory: %w", pid, err)
	}
	p.PID, p.Parent, p.State, p.Started, p.ResidentBytes = pid, parent, fields[statState], started, pages*pageBytes
	return nil
}
