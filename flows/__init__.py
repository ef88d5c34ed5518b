"""The troubleshooting guide as flows: a folder for each section, a file for each remediation."""
