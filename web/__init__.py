"""What the web apps share: page shell, fonts, languages, security headers."""
