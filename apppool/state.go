package apppool

// The life of a pool. "starting" on the outside is two states in here: a start is
// in flight, or the next one waits for its back-off.
//
//	          start                 ready                  recycle, reconfigure
//	stopped ---------> starting -------------> running ----------------------+
//	   ^               |  ^   ^                | ^   ^                       v
//	   |       unready |  |   |        crashed | |   |                  overlapping
//	   |               v  |   |                | |   |                    |  |  |
//	   |              backoff |                | |   +-- ready: swap -----+  |  |
//	   |          retry, start|  <-------------+ +------ unready: n goes on -+  |
//	   |                      +------------------------- n crashed -------------+
//	   |
//	   +---- stop, from everywhere
//
//	          recycle, reconfigure without overlap
//	running -------------------------------------> starting: when n is gone
//
//	          no request for idle_timeout       request, start, recycle
//	running -------------------------> idle ------------------------> starting
//
//	          too many failures                 start, recycle, reconfigure, second chance
//	backoff -------------------------> failed ----------------------------------------> starting
//
// With the host a pool begins as stopped or idle, or with a generation that the
// host before has left: then it is running at once.
//
// Generations that were replaced or stopped drain beside this and change no state.
type state int

// The states.
const (
	stopped     state = iota // nothing serves, nothing starts
	starting                 // nothing serves, a start is in flight
	backoff                  // nothing serves, the next start waits for its time
	running                  // a generation serves
	overlapping              // a generation serves and the next one starts
	failed                   // nothing serves, nothing starts: it has failed too often
	idle                     // nothing serves, nothing starts: until somebody asks for something
	states                   // how many there are
)

// String is the state's name in status and logs.
func (s state) String() string {
	return [states]string{"stopped", "starting", "starting", "running", "overlapping", "failed", "idle"}[s]
}

// event is what can happen to a pool.
type event int

// The events: orders, and facts.
const (
	evStart       event = iota // told to run
	evStop                     // told to stop
	evRecycle                  // told to replace the generation
	evReconfigure              // told to run with settings that need another generation
	evReplace                  // one of the two, in state running, where two generations may not overlap
	evReady                    // the start in flight gave a worker
	evUnready                  // the start in flight did not succeed
	evCrashed                  // the process of the generation that serves has ended
	evRetry                    // the back-off is over, or what a failed pool waits before its second chance
	evExhausted                // that was one failure too many
	evDemand                   // a request has come that found the pool idle
	evInherit                  // a generation of the host before this one is taken over
	evIdle                     // the generation that serves has had no request for idle_timeout
	events                     // how many there are
)

// String is the event's name in logs.
func (e event) String() string {
	return [events]string{"start", "stop", "recycle", "reconfigure", "replace", "ready", "unready", "crashed", "retry", "exhausted", "demand", "inherit", "idle"}[e]
}

// action is what the pool does about an event.
type action int

// The actions.
const (
	never   action = iota // cannot happen
	answer                // nothing to do: it is done already
	begin                 // start a generation now
	replace               // drain the generation; start the next one when it is gone
	join                  // the caller gets the outcome of the start in flight
	pend                  // the caller gets the outcome of the recycle that follows it
	adopt                 // take the settings over
	serve                 // the new generation serves, the one before it drains
	keep                  // the start is refused; the generation that serves goes on
	delay                 // the start is refused; the next one waits for the back-off
	revive                // bury the generation; the next one waits for the back-off
	bury                  // bury the generation; the one that starts is to serve
	halt                  // cancel the start, drain the generation
	fail                  // give the pool up
	anew                  // forget the failures, and start a generation now
	chance                // start a generation now; its failure is one too many
	rest                  // drain the generation; the next request starts another
)

// step is one cell of the table.
type step struct {
	next state
	do   action
}

// on is the table: what state s makes of event e.
func (s state) on(e event) step {
	impossible := step{s, never}
	return [states][events]step{
		stopped: {
			evStart:       {starting, begin},
			evStop:        {stopped, halt}, // the caller waits for what still drains
			evRecycle:     {starting, begin},
			evReconfigure: {stopped, adopt},
			evReplace:     impossible, // only a generation that serves is replaced
			evReady:       impossible, // a cancelled start has no say
			evUnready:     impossible,
			evCrashed:     impossible, // nothing serves
			evRetry:       impossible,
			evExhausted:   impossible,
			evDemand:      {stopped, answer}, // it came too late
			evInherit:     {running, serve},
			evIdle:        impossible,
		},
		starting: {
			evStart:       {starting, join},
			evStop:        {stopped, halt},
			evRecycle:     {starting, pend},
			evReconfigure: {starting, pend},
			evReplace:     impossible,
			evReady:       {running, serve},
			evUnready:     {backoff, delay},
			evCrashed:     impossible,         // nothing serves
			evRetry:       impossible,         // the timer is off
			evExhausted:   impossible,         // it is looked at when that start has failed
			evDemand:      {starting, answer}, // somebody else was first
			evInherit:     impossible,
			evIdle:        impossible,
		},
		backoff: {
			evStart:       {starting, begin},
			evStop:        {stopped, halt},
			evRecycle:     {starting, begin},
			evReconfigure: {starting, begin},
			evReplace:     impossible,
			evReady:       impossible, // nothing starts
			evUnready:     impossible,
			evCrashed:     impossible, // nothing serves
			evRetry:       {starting, begin},
			evExhausted:   {failed, fail},
			evDemand:      {backoff, answer},
			evInherit:     impossible,
			evIdle:        impossible,
		},
		running: {
			evStart:       {running, answer},
			evStop:        {stopped, halt},
			evRecycle:     {overlapping, begin},
			evReconfigure: {overlapping, begin},
			evReplace:     {starting, replace},
			evReady:       impossible, // nothing starts
			evUnready:     impossible,
			evCrashed:     {backoff, revive},
			evRetry:       impossible, // the timer is off
			evExhausted:   impossible,
			evDemand:      {running, answer},
			evInherit:     impossible, // it is the first that happens to a pool
			evIdle:        {idle, rest},
		},
		overlapping: {
			evStart:       {overlapping, answer},
			evStop:        {stopped, halt},
			evRecycle:     {overlapping, pend},
			evReconfigure: {overlapping, pend},
			evReplace:     impossible,
			evReady:       {running, serve},
			evUnready:     {running, keep},
			evCrashed:     {starting, bury},
			evRetry:       impossible, // the timer is off
			evExhausted:   impossible,
			evDemand:      {overlapping, answer},
			evInherit:     impossible,
			evIdle:        impossible, // it is looked at in state running only
		},
		failed: {
			evStart:       {starting, anew},
			evStop:        {stopped, halt},
			evRecycle:     {starting, anew},
			evReconfigure: {starting, anew},
			evReplace:     impossible,
			evReady:       impossible, // nothing starts
			evUnready:     impossible,
			evCrashed:     impossible, // nothing serves
			evRetry:       {starting, chance},
			evExhausted:   impossible, // it is known
			evDemand:      {failed, answer},
			evInherit:     impossible,
			evIdle:        impossible,
		},
		idle: {
			evStart:       {starting, begin},
			evStop:        {stopped, halt},
			evRecycle:     {starting, begin},
			evReconfigure: {idle, adopt},
			evReplace:     impossible,
			evReady:       impossible, // nothing starts
			evUnready:     impossible,
			evCrashed:     impossible, // nothing serves
			evRetry:       impossible, // the timer is off
			evExhausted:   impossible,
			evDemand:      {starting, begin},
			evInherit:     {running, serve},
			evIdle:        impossible, // it is
		},
	}[s][e]
}
