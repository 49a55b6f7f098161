// Package phases walks through an ordered shutdown: a fixed list of phases,
// each with a deadline, so that nothing that hangs can keep a machine from
// going down. The walk itself is a pure state machine (Machine); Run carries
// it out.
package phases
