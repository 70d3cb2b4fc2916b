package http1

// Method is a request method. The zero value is Other: a valid token that this package has no constant for.
type Method uint8

// The methods of RFC 9110 section 9 and RFC 5789. Method names are case-sensitive: "get" is Other.
const (
	Other Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	OPTIONS
	TRACE
	CONNECT
	PATCH
	methods
)

var methodNames = [methods]string{
	GET: "GET", HEAD: "HEAD", POST: "POST", PUT: "PUT", DELETE: "DELETE", OPTIONS: "OPTIONS", TRACE: "TRACE",
	CONNECT: "CONNECT", PATCH: "PATCH",
}

// String returns the method's name, or "" for Other: the name is then in Request.MethodToken.
func (m Method) String() string {
	if m >= methods {
		return ""
	}
	return methodNames[m]
}

// longestMethod bounds a method's name in bytes.
const longestMethod = 32

// methodOf names the method that token spells.
func methodOf(token []byte) Method {
	switch string(token) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "TRACE":
		return TRACE
	case "CONNECT":
		return CONNECT
	case "PATCH":
		return PATCH
	}
	return Other
}

// Form is the form of a request target, RFC 9112 section 3.2.
type Form uint8

// The four forms.
const (
	// OriginForm is an absolute path with an optional query: "/where?q=now".
	OriginForm Form = iota
	// AbsoluteForm is a whole http or https URI: "http://www.example.org/pub".
	AbsoluteForm
	// AuthorityForm is host and port, for CONNECT alone: "www.example.com:80".
	AuthorityForm
	// AsteriskForm is "*", for OPTIONS alone.
	AsteriskForm
)

// String returns the form's name as RFC 9112 spells it.
func (f Form) String() string {
	switch f {
	case OriginForm:
		return "origin-form"
	case AbsoluteForm:
		return "absolute-form"
	case AuthorityForm:
		return "authority-form"
	case AsteriskForm:
		return "asterisk-form"
	}
	return ""
}
