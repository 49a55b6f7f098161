// Package audit is the form of the node API's audit log: lines that form a hash chain. The node writes them, nodectl verifies them, and
// neither has to believe the other.
//
// A line is the SHA-256 of its entry in hexadecimal, a space, and the entry as JSON:
//
//	5f70bf18… {"seq":7,"prev":"a1fce436…","time":"2026-11-23T04:00:00Z",…}
//
// An entry holds the hash of the entry before, and numbers count up by one. So each line tells by itself whether it was changed, two
// neighbours tell whether something between them is gone, and a log whose oldest lines were dropped verifies from the first that is left,
// which still names the hash of what was dropped.
//
// The chain has no key: who controls the node can write a whole new one. What reveals that is a head (number and hash of the newest entry)
// that was noted elsewhere earlier, which a verifier looks for.
package audit
