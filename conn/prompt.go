package conn

// Prompter is a Conn whose model has turns, within which Now stands still, and can say afterwards how long one took.
type Prompter interface {
	// CountPrompt says that something was begun and done within this turn, for Recording.Prompt; for the connection's own
	// thread of control. It reports false if nobody wants to be told.
	CountPrompt() bool
}

// CountPrompt has Recording.Prompt told of something that was begun and done within a turn. It reports false if nobody
// is told.
func CountPrompt(c Conn) bool {
	p, counts := c.(Prompter)
	return counts && p.CountPrompt()
}
