//! Everything the doctor can find, with how bad it is and what to do: one table.

use core::fmt;

use super::severity::Severity::{self, Error, Note, Warning};

/// `{credential}` stands for the credential in words, `{file}` for the file that usually holds it.
macro_rules! kinds {
    ($($severity:ident $kind:ident: $cause:literal, $remedy:literal;)*) => {
        /// The kinds of findings. Each kind has one [`Severity`], one cause and one remedy; the evidence is the case's own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum FindingKind {
            $(
                #[doc = concat!(stringify!($severity), ": ", $cause, ".")]
                $kind,
            )*
        }

        impl FindingKind {
            /// Every kind, in the order of this page.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Returns how bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$kind => $severity,)*
                }
            }

            /// Returns the name, as written here.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }

            pub(super) fn cause(self) -> &'static str {
                match self {
                    $(Self::$kind => $cause,)*
                }
            }

            pub(super) fn remedy(self) -> &'static str {
                match self {
                    $(Self::$kind => $remedy,)*
                }
            }
        }
    };
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

kinds! {
    // Any credential.
    Warning Missing: "{credential} is not there",
        "add it: nobody can log in without it";
    Error Empty: "{credential} is empty",
        "fill it in; an empty environment variable or a failed copy looks like this";
    Error TooLong: "{credential} is longer than it can ever be",
        "look whether something else was pasted there";
    Error Quoted: "{credential} is wrapped in quotation marks, which count as part of it",
        "take the quotation marks away";
    Error SurroundingSpace: "{credential} begins or ends with a space or a line break",
        "take the space away; `echo` adds a line break to what it writes, `printf %s` does not";
    Error HeaderCharacter: "{credential} holds a character that cannot stand in an HTTP header",
        "copy it again from the portal, as plain text";

    // Consumer key, realm, access token: protocol section 9.
    Warning ConsumerKeyLowerCase: "the consumer key has lower-case letters, but the portal registers it in upper case",
        "write it in upper case; in lower case IBKR rejects it with 401 `invalid consumer`";
    Warning ConsumerKeyLength: "the consumer key does not have the nine characters that IBKR's keys have",
        "compare it with the portal, character by character";
    Warning ConsumerKeyHex: "the consumer key looks like the 25 hexadecimal digits that old documentation speaks of",
        "use the nine-letter key which you chose in the portal, or were assigned";
    Warning ConsumerKeyAlphabet: "the consumer key has characters other than letters, and IBKR's keys are letters only",
        "compare it with the portal: is a 0 an O, or a 1 an I?";
    Note TestConsumer: "TESTCONS is IBKR's public test consumer: it reaches paper accounts only",
        "use your own consumer key for your own account";
    Error RealmContradiction: "the realm does not go with the consumer key",
        "leave the realm out: it follows from the consumer key (`test_realm` for TESTCONS, else `limited_poa`)";
    Warning RealmUnknown: "the realm is neither `limited_poa` nor `test_realm`, and IBKR has no other",
        "leave the realm out: it follows from the consumer key";
    Note NoAccessToken: "there is no access token",
        "for your own account, make one in the self-service portal (Generate Tokens) and add it with its secret; \
         a third party gets one when a user consents";
    Warning AccessTokenForm: "the access token is not made of 20 lower-case hexadecimal digits, as IBKR's are",
        "copy it again from the portal, whole and unchanged";
    Error TokenAndSecretSwapped: "the access token and its secret are swapped",
        "exchange them: the token is the short one (20 characters), the secret the long one (344)";

    // The text of PEM files.
    Error NotText: "{credential} is not a text file: it may be DER, or text saved as UTF-16",
        "convert DER with `openssl pkey -inform DER -in FILE -out {file}`; save text as UTF-8 \
         (PowerShell's `>` writes UTF-16)";
    Error NotPem: "{credential} holds no PEM block",
        "give the content of {file}, from the BEGIN line to the END line, both included";
    Error HeaderMissing: "{credential} lacks its BEGIN line",
        "use the repaired text, or copy {file} again from its first line to its last";
    Error EndMissing: "{credential} lacks its END line, or has another one",
        "copy {file} again, from its first line to its last";
    Error Dashes: "the BEGIN or END line of {credential} is damaged: it must have exactly five hyphens on each side",
        "use the repaired text, or copy {file} again; word processors turn hyphens into dashes";
    Error EscapedLineBreaks: "{credential} has `\\n` written out where line breaks belong, as in an environment variable",
        "use the repaired text, or turn each `\\n` into a line break before you hand it over: `printf '%b' \"$KEY\"`";
    Error NotBase64: "{credential} holds a character that no PEM block has",
        "copy {file} again, as plain text";
    Error CutOff: "part of {credential} is missing",
        "copy {file} again, from its first line to its last";
    Note Layout: "{credential} is readable here, but not laid out in lines of 64 characters as other programs want it",
        "use the repaired text, or copy {file} again with its line breaks and without indentation";
    Note CrLf: "{credential} has Windows line ends (CR LF), which do no harm here",
        "see that the files you upload have Unix line ends: `tr -d '\\r' < OLD > NEW`";
    Note UploadCrLf: "{credential} has Windows line ends (CR LF), which do no harm here, but the portal rejects such a file",
        "nothing, if it is registered already; else run `tr -d '\\r' < {file} > new.pem` and upload the new file";
    Warning Several: "there is more than one block where {credential} belongs, and only the first is used",
        "leave the one that belongs there, and put any other into a file of its own; their fingerprints tell them apart";

    // What the PEM block is.
    Error PublicKey: "a public key stands where {credential} belongs",
        "give the content of {file}; public keys are for the portal only";
    Error Certificate: "a certificate stands where {credential} belongs",
        "give the content of {file}; certificates play no part here";
    Error CertificateRequest: "a certificate request stands where {credential} belongs",
        "give the content of {file}; certificate requests play no part here";
    Error DhParams: "a Diffie-Hellman parameter file stands where {credential} belongs",
        "give the content of {file}";
    Error PrivateKey: "a private key stands where {credential} belongs",
        "give the content of {file}; a private key is never uploaded: if you did, make new keys";
    Error OpenSshKey: "{credential} is in OpenSSH's own format",
        "make keys with OpenSSL, not with ssh-keygen: `openssl genrsa -out {file} 2048`, and upload the public half";
    Error NotRsa: "{credential} is not an RSA key",
        "make an RSA key with `openssl genrsa -out {file} 2048`, and upload the public half";
    Error X942: "the Diffie-Hellman parameters are in the X9.42 form, which the portal does not take",
        "make them with `openssl dhparam -out dhparam.pem 2048`, and upload them";
    Error UnknownPem: "{credential} holds a PEM block of an unknown kind",
        "give the content of {file}";

    // Keys.
    Error Encrypted: "{credential} is protected by a passphrase",
        "give the passphrase (feature `encrypted-keys`), or take it off with `openssl pkey -in {file} -out plain.pem`";
    Error WrongPassphrase: "the passphrase does not decrypt {credential}",
        "try it with `openssl pkey -in {file} -noout`";
    Error LegacyEncryption: "{credential} is protected by a passphrase in OpenSSL's old way, which nobody should use any more",
        "convert it with `openssl pkcs8 -topk8 -in {file} -out new.pem`";
    Note PassphraseUnneeded: "a passphrase was given, but {credential} is not protected by one",
        "protect it with `openssl pkcs8 -topk8 -in {file} -out new.pem`, or leave the passphrase out";
    Error KeyDamaged: "{credential} is a complete block, but not a valid RSA private key",
        "check it with `openssl rsa -check -noout -in {file}`; take it from a backup, or make a new one and upload its \
         public half";
    Error KeyTooSmall: "{credential} is too short",
        "make a new one with `openssl genrsa -out {file} 2048`, and upload its public half";
    Error KeyTooLarge: "{credential} is too long: a login would take seconds",
        "make a new one with `openssl genrsa -out {file} 2048`, and upload its public half";
    Note KeySize: "{credential} does not have the 2048 bits that IBKR asks for",
        "nothing, if the portal took it; if logins fail, make one with `openssl genrsa -out {file} 2048`";
    Warning SameKey: "the signature key and the encryption key are one and the same",
        "make two keys, as IBKR asks; if two are registered, one of your files is a copy of the other";

    // The access token secret: protocol section 4.
    Error SecretTruncated: "the access token secret is cut off",
        "copy it whole from the portal; if it is not shown any more, generate new tokens";
    Error SecretOverlong: "the access token secret is too long for the encryption key",
        "copy it again from the portal, nothing before it and nothing after it";
    Note SecretPadding: "the access token secret has lost `=` signs at its end: this does no harm here, other programs \
         want them",
        "use the repaired text, or copy it again from the portal";
    Error SecretExcessPadding: "the access token secret has the wrong number of `=` signs at its end",
        "use the repaired text, or copy it again from the portal";
    Error SecretPercentEncoded: "the access token secret is percent-encoded, as in a URL",
        "use the repaired text, or decode it: %2B is +, %2F is /, %3D is =";
    Error SecretHex: "the access token secret is in hexadecimal, not in base64",
        "use the repaired text, or copy it from the portal as it is shown there";
    Error SecretUrlSafe: "the access token secret is in the URL-safe kind of base64",
        "use the repaired text, or turn each - into + and each _ into /";
    Error SecretPlusLost: "the plus signs of the access token secret have become spaces",
        "use the repaired text, or copy it again from the portal; URL decoding does this";
    Error SecretNotBase64: "the access token secret is not base64",
        "copy it again from the portal, as plain text";
    Note SecretDecrypts: "the encryption key decrypts the access token secret, as it should",
        "nothing: this proves that the two belong together";
    Error KeysSwapped: "the signature key and the encryption key are swapped: the signature key decrypts the access \
         token secret",
        "exchange the two files; nothing has to be uploaded again, because the secret was made for the key that the \
         portal has as encryption key";
    Error SecretDoesNotDecrypt: "the access token secret does not decrypt with the encryption key: it was made for another \
         key, or a character of it is wrong",
        "copy it again from the portal; if it persists, use the newest secret, because each `Generate Tokens` makes the one \
         before worthless, and compare the fingerprint of your encryption key with the public key you uploaded";
    Error SecretDecrypted: "the access token secret is decrypted already",
        "give it as the portal shows it, encrypted: 344 characters of base64; it is decrypted anew for each login";

    // Diffie-Hellman parameters: protocol section 5.
    Error DhNotHex: "the Diffie-Hellman parameters are neither a PEM block nor a hexadecimal prime",
        "give the content of dhparam.pem, or the prime in hexadecimal";
    Error DhText: "the Diffie-Hellman parameters are the text that `openssl dhparam -text` writes for people to read",
        "give the content of dhparam.pem; or the digits of the prime alone, without words, colons and line breaks";
    Error DhDecorated: "the DH prime has `0x`, colons or spaces, and must be nothing but hexadecimal digits",
        "use the repaired text, or take them away";
    Error DhDamaged: "the Diffie-Hellman parameters are a complete block, but not a prime and a generator",
        "check them with `openssl dhparam -in dhparam.pem -check -noout`; take them from a backup, or make new ones and \
         upload them";
    Error DhNegative: "the DH prime is written as a negative number: the zero byte in front of it is missing",
        "use the repaired text; the program that wrote the file is at fault";
    Error DhEven: "the DH prime is even, so it is not a prime",
        "copy it again from dhparam.pem: its end is damaged";
    Error DhComposite: "the DH prime is not a prime",
        "copy it again from dhparam.pem: a character is lost or changed";
    Warning DhNotSafe: "the DH prime is a prime, but not a safe one: half of it is not a prime",
        "make new parameters with `openssl dhparam -out dhparam.pem 2048` (without -dsaparam), and upload them";
    Error DhTooSmall: "the DH prime is too short",
        "copy it whole; if it is whole, make new parameters with `openssl dhparam -out dhparam.pem 2048`, and upload them";
    Error DhTooLarge: "the DH prime is too long: a login would take seconds",
        "make new parameters with `openssl dhparam -out dhparam.pem 2048`, and upload them";
    Note DhGenerator: "the DH generator is not 2; IBKR computes with 2 all the same, and so does this crate",
        "nothing: nothing has to be uploaded again; tell other programs to compute with 2";

    // Base URL: protocol section 1.
    Error UrlInvalid: "the base URL is not one",
        "use https://api.ibkr.com/v1/api";
    Error UrlPlain: "the base URL is http, so anybody on the way can read what is sent",
        "use https";
    Warning UrlPath: "the base URL does not end in /v1/api",
        "use https://api.ibkr.com/v1/api";
    Note UrlTrailingSlash: "the base URL ends in a slash, which is left out when it is used",
        "nothing, or take the slash away";
    Warning UrlHost: "the base URL names a host that is not known to be IBKR's",
        "use https://api.ibkr.com/v1/api, unless you know better";
    Note UrlLoopback: "the base URL leads to this machine, so to a test server and not to IBKR",
        "use https://api.ibkr.com/v1/api for a real account";

    // Clock: protocol section 7.
    Warning ClockOff: "this machine's clock differs from the server's",
        "let the machine set its clock from the network: `timedatectl set-ntp true`, or `w32tm /resync` on Windows";
    Error ClockFarOff: "this machine's clock is far from the server's: IBKR may reject what is signed with such a time",
        "let the machine set its clock from the network: `timedatectl set-ntp true`, or `w32tm /resync` on Windows";
    Note DateUnreadable: "the server's date cannot be read, so the clock was not checked",
        "give the Date header as it came: `Thu, 02 May 2024 17:08:36 GMT`";
}
