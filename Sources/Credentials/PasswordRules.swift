import Domain
import FoundationEssentials
import TextForms

/// The rules for a new password (NIST SP 800-63B, 5.1.1.2).
///
/// No rule asks for digits or symbols: "Verifiers SHOULD NOT impose other composition rules".
enum PasswordRules {
    /// Too many words contain a shorter name.
    private static let minimumNameLength = 4

    /// What is wrong with a password, in words for its owner; nil if nothing is.
    static func complaint(about password: String, of email: EmailAddress?) -> String? {
        let length = Passwords.length(of: password)
        guard length >= Passwords.minimumLength else {
            return "A password needs at least \(Passwords.minimumLength) characters."
        }
        guard length <= Passwords.maximumLength else {
            return "A password can have at most \(Passwords.maximumLength) characters."
        }
        let plain = normalised(password)
        guard Set(plain).count > 1 else { return "A password cannot be one character repeated." }
        let name = normalised(email?.description.prefix { $0 != "@" } ?? "")
        if plain == name || plain == email.map({ normalised($0.description) })
            || name.count >= minimumNameLength && plain.contains(name)
        {
            return "A password cannot contain the name of its e-mail address."
        }
        guard !plain.filter({ $0.isLetter || $0.isNumber }).contains("therapybridge") else {
            return "A password cannot contain the name of this service."
        }
        guard !CommonPasswords.all.contains(plain) else {
            return "This password is one of the most common. Choose another."
        }
        return nil
    }

    /// The password in the form that is hashed, but in lower case.
    private static func normalised(_ text: some StringProtocol) -> String {
        String(text).compatibleForm.lowercased()
    }
}

/// The most common passwords of at least eight characters in published leaks.
///
/// `LOGIN_MAX_FAILURES_PER_ACCOUNT` allows an attacker only a few guesses, and a short list covers these.
enum CommonPasswords {
    static let all = Set(
        """
        password password1 password12 password123 password1234 password! password1! password123! passw0rd p@ssw0rd p@ssword
        pa$$word passwort passwort1 passwort123 kennwort kennwort1 motdepasse contraseña contrasena senha123 parola123
        12345678 123456789 1234567890 0123456789 123456789a 12345678a a12345678 a123456789 87654321 987654321 9876543210
        0987654321 123123123 12341234 12344321 11223344 1122334455 112233445566 123454321 147258369 159357456 741852963
        789456123 147852369 123698745 321654987 10203040 1020304050 12121212 13131313 11112222 22223333 12312312 01234567
        qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345 qwerty123456 qwertz12 qwertz123 qwertzui qwertzuiop
        azertyui azertyuiop 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qazxsw2 zaq12wsx zaq1zaq1 qazwsxedc qazwsx123
        asdfghjk asdfghjkl asdf1234 asdfasdf zxcvbnm1 zxcvbnm123 qwer1234 1234qwer q1w2e3r4 q1w2e3r4t5 abcd1234 1234abcd
        abc12345 abc123456 abcdefgh abcdefg1 abcdef123 aa123456 aa12345678 a1b2c3d4 a1234567 aaaaaaa1 asd12345 123qweasd
        123456qwerty 123456abc 12345qwert qwe123456 123qwe123 1a2b3c4d 12qwaszx 1234567q 123456789q q123456789 1234567a
        iloveyou iloveyou1 iloveyou2 iloveyou! iloveu12 ichliebedich jetaime1 teamo123 loveyou1 ilovegod lovelove love1234
        sunshine sunshine1 princess princess1 football football1 baseball baseball1 basketball superman superman1 batman123
        spiderman pokemon1 pokemon123 starwars starwars1 master123 michael1 michelle jennifer jessica1 jonathan victoria
        samantha alexander elizabeth charlotte danielle nicholas benjamin veronica christian christopher caroline stephanie
        computer computer1 internet internet1 whatever whatever1 trustno1 trustno1! letmein1 letmein123 letmein! welcome1
        welcome12 welcome123 welcome1! welcome! willkommen willkommen1 bienvenue changeme changeme1 changeme123 default1
        admin123 admin1234 admin12345 administrator administrator1 root1234 test1234 test12345 testtest testing1 testing123
        guest123 user1234 login123 secret123 secret12 geheim123 geheimnis temp1234 temppass hello123 hello1234 hallo123
        hallo1234 helloworld monkey12 monkey123 dragon12 dragon123 shadow12 shadow123 killer123 freedom1 ashley123 charlie1
        mustang1 liverpool liverpool1 chelsea1 arsenal1 manchester barcelona realmadrid juventus ferrari1 mercedes porsche1
        chocolate butterfly rainbow1 flower123 cookie123 cheese123 pepper12 ginger12 blink182 metallica slipknot nirvana1
        corvette hannover hamburg1 muenchen schatz12 schalke04 schnucki sommer123 winter123 spring2024 summer2023 summer2024
        summer2025 summer2026 winter2023 winter2024 winter2025 winter2026 autumn2024 january1 december1 november1 qwerty!23
        patient1 patient123 therapist therapist1 therapist123 therapie therapie1 therapy1 therapy123 doctor123 hospital
        hospital1 medical1 medical123 clinic123 klinik123 psychology psychologe praxis123 nurse123 health123 healthcare
        """.split { $0 == " " || $0.isNewline }.map(String.init))
}
