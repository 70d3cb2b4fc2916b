package config

// Route is a match and one action. A match may name a host, one of path, prefix and suffix, and methods; what it leaves
// out matches anything.
type Route struct {
	// The request's host without its port: a name, or "*." and a name for every name under it.
	Host string `yaml:"host,omitempty"`
	// The whole path, such as "/health".
	Path string `yaml:"path,omitempty"`
	// The path's beginning, such as "/static/". A GET of "/static" is sent there, with 308, if no route takes it.
	Prefix string `yaml:"prefix,omitempty"`
	// The path's end, such as ".php".
	Suffix string `yaml:"suffix,omitempty"`
	// The methods, such as [GET, POST]; GET stands for HEAD too. Without it, every method. A request with another one goes
	// on to the routes below; if none of them takes it either, the answer is 405 with an Allow field that lists what all
	// matching routes take, and for OPTIONS 204 with that field. Where a route with a path is passed over like this, and
	// files below have nothing under the path, the answer is 405 too and not 404.
	Methods []string `yaml:"methods,omitempty"`
	// Action: answer with files from a directory.
	Files *Files `yaml:"files,omitempty"`
	// Action: answer with a fixed text.
	Respond *Respond `yaml:"respond,omitempty"`
	// Action: send the client elsewhere.
	Redirect *Redirect `yaml:"redirect,omitempty"`
	// Action: answer with what an upstream answers.
	Proxy *Proxy `yaml:"proxy,omitempty"`
	// Action: answer with what is running, as JSON. Written as "status: {}".
	Status *Status `yaml:"status,omitempty"`
	// How many requests of this route a client address may make.
	Rate *Rate `yaml:"rate,omitempty"`
	// Fields added to every answer of this route.
	Headers map[string]string `yaml:"headers,omitempty"`
}

// Files answers with files from a directory.
type Files struct {
	// The directory. One that is not absolute is taken from the directory that the server is started in. When its name
	// comes to lead to another directory, such as a link that is renamed for a new release, that is served within twice
	// cache.valid; answers that have begun are completed. A file that is overwritten in place while it is sent, instead of
	// being replaced, breaks its answer off if it has more than 256KiB and its last 64KiB have not been queued; a smaller
	// one, or its end, may be some of the old and some of the new.
	Root string `yaml:"root" jsonschema:"required"`
	// Whether the route's prefix is cut off a path before it is looked up in the directory: with prefix "/static/", is
	// "/static/a.css" the file a.css, or static/a.css? The default is the latter, so that an address says where its file
	// lies, and a route can be narrowed by a prefix without its files moving. Only for routes with a prefix.
	Strip bool `yaml:"strip"`
	// Names tried, in order, when a directory is asked for.
	Index []string `yaml:"index"`
	// Whether a directory without an index is listed. Otherwise the answer is 403.
	// It shows up to 1,000 names.
	Listing bool `yaml:"listing"`
	// Encodings looked for beside a file, as name.br, name.zst and name.gz, best first. A neighbour whose time of change
	// is two seconds or more before the file's holds what the file was, and is left aside until it is made anew.
	Precompressed []Encoding `yaml:"precompressed"`
	// What is remembered of files between requests.
	Cache FileCache `yaml:"cache"`
	// Content types by the end of the name, such as {".wasm": "application/wasm"}, before the built-in ones.
	MIME map[string]string `yaml:"mime,omitempty"`
	// Whether files and directories whose name begins with a dot are served. Otherwise the answer is 404, but for what
	// stands under /.well-known/ (RFC 8615).
	Hidden bool `yaml:"hidden"`
}

// FileCache is what is remembered of files between requests.
type FileCache struct {
	// Open files and their metadata that are remembered. 0 remembers none. A file that is deleted is closed within a
	// minute, also if nobody asks for it again.
	Entries int `yaml:"entries" min:"0" max:"10000000"`
	// How long an entry is used before the file is looked at again.
	Valid Duration `yaml:"valid" min:"1ms" max:"24h"`
	// The largest file that is kept in memory; a larger one is sent from its descriptor. "0" keeps none.
	MemoryFile Size `yaml:"memory_file" min:"0" max:"1GiB"`
	// Bytes of all files together that are kept in memory.
	Memory Size `yaml:"memory" min:"0" max:"1TiB"`
}

// Respond answers with a fixed text.
type Respond struct {
	// The status code.
	Status int `yaml:"status" min:"200" max:"599"`
	// The text.
	Body string `yaml:"body"`
	// The Content-Type field.
	Type string `yaml:"type"`
	// Further fields of the answer.
	Headers map[string]string `yaml:"headers,omitempty"`
}

// Redirect sends the client elsewhere.
type Redirect struct {
	// The Location field: a URL, or a path that begins with "/".
	To string `yaml:"to" jsonschema:"required"`
	// The status code: 301, 302, 303, 307 or 308.
	Status int `yaml:"status"`
}

// Status answers with what is running, as JSON. It has no keys.
type Status struct{}
