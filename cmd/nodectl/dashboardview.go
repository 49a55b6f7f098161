package main

import (
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// barWidth is how wide the bars of processors and memory are.
const barWidth = 30

// picture is the dashboard as lines, at most height of them and none wider than
// width; b.mu is held. The head and the services come first; events and the log
// share what is left.
func (b *board) picture(width, height int, now time.Time) []string {
	lines := append(b.head(now), "")
	lines = append(lines, b.serviceLines(max(3, height/3))...)
	left := height - len(lines) - 5 // two blanks, two titles, the foot
	events := max(left/2, 1)
	lines = append(lines, "", "EVENTS")
	lines = append(lines, newest(b.events, events)...)
	lines = append(lines, "", "LOG of "+b.selectedName())
	lines = append(lines, newest(b.logs, max(left-events, 1))...)
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(min(len(lines), height-1), 0)], "arrows: pick a service   q: quit")
	for i, line := range lines {
		lines[i] = fit(output.Clean(line), width)
	}
	return lines
}

// fit cuts a line off.
func fit(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(width, 0)])
}

func newest(lines []string, n int) []string {
	return lines[max(0, len(lines)-n):]
}

func (b *board) selectedName() string {
	if b.selected >= len(b.services) {
		return "no service"
	}
	return b.services[b.selected].GetName()
}

// head is the node, its health and its load.
func (b *board) head(now time.Time) []string {
	var lines []string
	state := "connecting to " + b.node
	if n := b.info; n != nil {
		state = "NOT READY"
		if n.GetReady() {
			state = "READY"
		}
		state = fmt.Sprintf("%s   %s   %s   Cyvive %s   kernel %s   up %s", n.GetHostname(), state,
			enumName(n.GetRole().String(), "NODE_ROLE_"), n.GetVersion(), n.GetKernelRelease(), b.now.GetUptime().AsDuration().Round(time.Second))
	}
	lines = append(lines, state+"   "+now.UTC().Format(time.TimeOnly)+" UTC")
	for _, c := range b.health.GetChecks() {
		if !c.GetHealthy() {
			lines = append(lines, "! "+c.GetName()+": "+c.GetReason())
		}
	}
	var streams []string
	for stream, err := range b.problems {
		if err != nil {
			streams = append(streams, "! "+stream+": "+err.Error())
		}
	}
	sort.Strings(streams)
	lines = append(lines, streams...)
	if b.now == nil {
		return lines
	}
	cpu, memory := b.now.GetCpu(), b.now.GetMemory()
	busy := busyShare(b.was.GetCpu(), cpu)
	used := memory.GetTotalBytes() - min(memory.GetAvailableBytes(), memory.GetTotalBytes())
	share := 0.0
	if memory.GetTotalBytes() > 0 {
		share = float64(used) / float64(memory.GetTotalBytes())
	}
	lines = append(lines, "",
		fmt.Sprintf("CPU     %s %3.0f%%   %d processors, load %.2f %.2f %.2f", bar(busy), busy*100, cpu.GetProcessors(), cpu.GetLoad1(), cpu.GetLoad5(), cpu.GetLoad15()),
		fmt.Sprintf("MEMORY  %s %3.0f%%   %s of %s", bar(share), share*100, bytesText(used), bytesText(memory.GetTotalBytes())))
	return append(lines, b.rates()...)
}

// rates is a line for the disks and one for the network.
func (b *board) rates() []string {
	elapsed := b.now.GetTime().AsTime().Sub(b.was.GetTime().AsTime()).Seconds()
	if b.was == nil || elapsed <= 0 {
		elapsed = 0
	}
	per := func(now, was uint64) string {
		if elapsed == 0 || now < was {
			return "-"
		}
		return bytesText(uint64(float64(now-was)/elapsed)) + "/s"
	}
	var disks, links []string
	for _, d := range b.now.GetDisks() {
		for _, w := range b.was.GetDisks() {
			if w.GetName() == d.GetName() {
				disks = append(disks, fmt.Sprintf("%s read %s, write %s", d.GetName(), per(d.GetReadBytes(), w.GetReadBytes()), per(d.GetWrittenBytes(), w.GetWrittenBytes())))
			}
		}
	}
	for _, i := range b.now.GetInterfaces() {
		for _, w := range b.was.GetInterfaces() {
			if w.GetName() == i.GetName() && i.GetName() != "lo" {
				links = append(links, fmt.Sprintf("%s in %s, out %s", i.GetName(), per(i.GetReceivedBytes(), w.GetReceivedBytes()), per(i.GetSentBytes(), w.GetSentBytes())))
			}
		}
	}
	return []string{"DISK    " + strings.Join(disks, "   "), "NETWORK " + strings.Join(links, "   ")}
}

// busyShare is the share of the processors' time, between two moments, in which
// they worked.
func busyShare(was, now *kernelv1.CPUStats) float64 {
	work := func(s *kernelv1.CPUStats) (busy, all float64) {
		busy = (s.GetUser().AsDuration() + s.GetNice().AsDuration() + s.GetSystem().AsDuration() +
			s.GetIrq().AsDuration() + s.GetSoftirq().AsDuration() + s.GetSteal().AsDuration()).Seconds()
		return busy, busy + (s.GetIdle().AsDuration() + s.GetIowait().AsDuration()).Seconds()
	}
	busy, all := work(now)
	busyBefore, allBefore := work(was)
	if all <= allBefore {
		return 0
	}
	return min(max((busy-busyBefore)/(all-allBefore), 0), 1)
}

// bar draws a share between 0 and 1.
func bar(share float64) string {
	full := int(share*barWidth + 0.5)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}

// serviceLines is the table of services, those around the selected one where not
// all have room.
func (b *board) serviceLines(room int) []string {
	lines := []string{fmt.Sprintf("  %-26s %-9s %8s %8s  %s", "SERVICE", "STATE", "PID", "RESTARTS", "REASON")}
	from := 0
	if b.selected >= room-1 {
		from = b.selected - room + 2
	}
	for i := from; i < len(b.services) && i-from < room-1; i++ {
		s, mark := b.services[i], "  "
		if i == b.selected {
			mark = "> "
		}
		lines = append(lines, fmt.Sprintf("%s%-26s %-9s %8s %8d  %s", mark, s.GetName(), enumName(s.GetState().String(), "SERVICE_STATE_"),
			number(s.GetPid(), s.GetPid() != 0), s.GetRestarts(), s.GetReason()))
	}
	return lines
}
